"""The export stage of an encoder: ONNX files in each precision, the tokenizer, and what prediction needs."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from setsail.base.artifact import Artifact
from setsail.base.log import size
from setsail.base.recipe import READING_TASKS
from setsail.compress.onnx_export import export_f32, quantise, refuse_without_packages
from setsail.models.onnx_model import OnnxSettings, file_of
from setsail.models.plain_reader import load_tokenizer
from setsail.models.sentence_encoder import refuse_other_pooling
from setsail.stages.answering.predictors import end_marks
from setsail.stages.stage import StageSpec, Voyage, make
from setsail.tasks.registry import find_reading

KIND = "onnx"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


def make_onnx(voyage: Voyage, trained: Artifact) -> Artifact:
    """The trained encoder as ONNX, a file for each of `export.weights`; int8 is rounded from f32.

    Raises:
        ModelError: the exporter does not take this encoder.
        SystemRefusal: the extra that writes ONNX is not installed.
    """
    weights = voyage.recipe.export.weights

    def build(draft: Path) -> Mapping[str, Any]:
        refuse_without_packages()
        if voyage.recipe.task == "embed":
            refuse_other_pooling(trained.path)
        for name in TOKENIZER_FILES:
            shutil.copyfile(trained.file(name), draft / name)
        began = time.process_time()
        write_files(voyage.recipe.task, trained, draft, weights)
        spent = time.process_time() - began
        bytes_of = {name: (draft / file_of(name)).stat().st_size for name in weights}
        for name, num_bytes in bytes_of.items():
            voyage.log.say(f"  {file_of(name)}  {size(num_bytes)}")
        return {**{name: {"bytes": num} for name, num in bytes_of.items()}, "core_seconds": round(spent, 2)}

    return make(voyage, StageSpec(KIND, {"weights": list(weights)}, {"trained": trained}, {}), build)


def write_files(task: str, trained: Artifact, folder: Path, weights: tuple[str, ...]) -> None:
    """The ONNX files of a trained encoder and their settings."""
    reference = json.loads(trained.file("reference.json").read_text("utf-8"))
    named = reference.get("task", "classify") if task in READING_TASKS else task
    reading = find_reading(named) if task in READING_TASKS else None
    head, says = reading.head if reading else "document", "vectors" if task == "embed" else "logits"
    tokenizer = load_tokenizer(trained.path)
    context = int(tokenizer.model_max_length)
    f32 = folder / file_of("f32")
    inputs = export_f32(trained.path, f32, says=says, head=head, context=context)
    if "int8" in weights:
        quantise(f32, folder / file_of("int8"))
    if "f32" not in weights:
        f32.unlink()
    OnnxSettings(
        task=named,
        says=says,
        head=head,
        labels=tuple(reference.get("labels", ())),
        context=context,
        inputs=inputs,
        pad_id=int(tokenizer.pad_token_id or 0),
        num_end=end_marks(tokenizer, reading.num_texts if reading else 2 if task == "rank" else 1),
        weights=weights,
        pooling="the mean of the last states where the mask is 1, then of length one" if says == "vectors" else "",
    ).write(folder)
