"""The faithfulness stage of a reader: the trainer's logits against the saved folder, and against ONNX files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from setsail.base.artifact import Artifact
from setsail.base.device import prepare_device
from setsail.compress.check import Verdict
from setsail.compress.check_reader import ReadObservation, ReadReference, compare_readings
from setsail.compress.check_rounded import compare_rounded_readings
from setsail.models.onnx_model import load_onnx, read_settings
from setsail.models.plain_reader import load_plain
from setsail.stages.answering.predictor import Reader
from setsail.stages.checks.writer import refuse_or_write
from setsail.stages.stage import StageSpec, Voyage, make
from setsail.tasks.registry import find_reading

TEXTS_AT_ONCE = (1, 8)


def make_read_check(voyage: Voyage, trained: Artifact, exported: Artifact | None = None) -> Artifact:
    """The check of a reader: see `make_encoder_check`."""
    return make_encoder_check(voyage, trained, exported, of_folder=check_folder, of_files=check_exported)


def make_encoder_check(
    voyage: Voyage,
    trained: Artifact,
    exported: Artifact | None,
    *,
    of_folder: Callable[[Artifact], Verdict],
    of_files: Callable[[Artifact, Artifact], Verdict],
) -> Artifact:
    """The verdict over the folder, one text at a time and padded together, and over each file exported from it.

    Raises:
        CheckRefused: naming what differs; the figures stand in faithfulness-refused.json.
    """

    def build(draft: Path) -> Mapping[str, Any]:
        prepare_device(voyage.recipe.seed)
        findings = of_folder(trained).findings
        if exported is not None:
            findings += of_files(trained, exported).findings
        return refuse_or_write(voyage, Verdict(findings), draft)

    settings = {"check": voyage.recipe.check.model_dump(mode="json")}
    return make(voyage, StageSpec("check", settings, checked_forms(trained, exported), {}), build)


def checked_forms(trained: Artifact, exported: Artifact | None) -> dict[str, Artifact]:
    """The forms of an encoder that a check speaks of, by its parts."""
    return {"trained": trained} if exported is None else {"trained": trained, "served": exported}


def check_folder(trained: Artifact) -> Verdict:
    """The trainer's record in the artefact against what its folder says."""
    reference = _reference(trained)
    reader = load_plain(trained.path, find_reading(reference.task).head)
    return Verdict(
        tuple(
            finding
            for at_once in TEXTS_AT_ONCE
            for finding in compare_readings(reference, _observe(reader, reference, "folder", at_once))
        )
    )


def check_exported(trained: Artifact, exported: Artifact) -> Verdict:
    """The trainer's record against what onnxruntime says with each exported file, eight bits within wider limits."""
    reference, findings = _reference(trained), []
    for weights in read_settings(exported.path).weights:
        model = load_onnx(exported.path, weights)
        compare = compare_rounded_readings if model.alone else compare_readings
        for at_once in TEXTS_AT_ONCE[:1] if model.alone else TEXTS_AT_ONCE:
            findings += compare(reference, _observe(model, reference, f"onnx {weights}", at_once))
    return Verdict(tuple(findings))


def _reference(trained: Artifact) -> ReadReference:
    return ReadReference.from_json(json.loads(trained.file("reference.json").read_text("utf-8")))


def _observe(reader: Reader, reference: ReadReference, stage: str, at_once: int) -> ReadObservation:
    texts = [probe.texts for probe in reference.probes]
    logits = reader.logits(texts, at_once=at_once)
    return ReadObservation(
        stage=f"{stage}, {at_once} at once",
        labels=reader.labels,
        ids=tuple(tuple(reader.encoding(each).ids) for each in texts),
        logits=tuple(tuple(map(tuple, np.atleast_2d(values).tolist())) for values in logits),
    )
