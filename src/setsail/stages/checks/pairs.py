"""The faithfulness stage of an encoder-decoder that writes: the saved folder against the trainer, read by both.

Loaded by us it must write and pay what the trainer did; loaded by transformers alone it must read the same tokens,
write the same text and pay the same by its own forward.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from setsail.base.artifact import Artifact
from setsail.base.device import prepare_device
from setsail.compress.check import Answer, Observation, Probe, Verdict, compare
from setsail.compress.reference import FILE as REFERENCE
from setsail.compress.reference import Reference
from setsail.models.load import load_model
from setsail.models.writer import Writer, load_writer
from setsail.stages.checks.writer import refuse_or_write
from setsail.stages.kinds import tokenizer_of
from setsail.stages.lessons.pairing import observe_pairs, pairs_lesson
from setsail.stages.stage import StageSpec, Voyage, make


def make_pair_check(voyage: Voyage, trained: Artifact, saved: Artifact) -> Artifact:
    """The verdict over the saved folder; a breach refuses.

    Raises:
        CheckRefused: naming the first reader for whom it is not what was trained.
    """

    def build(draft: Path) -> Mapping[str, Any]:
        prepare_device(voyage.recipe.seed)
        return refuse_or_write(voyage, check_saved(voyage, trained, saved), draft)

    settings = {"check": voyage.recipe.check.model_dump(mode="json")}
    return make(voyage, StageSpec("check", settings, {"trained": trained, "saved": saved}, {}), build)


def check_saved(voyage: Voyage, trained: Artifact, saved: Artifact) -> Verdict:
    """The trainer's record in the artefact against what its folder writes and pays."""
    recipe, tokenizer = voyage.recipe, tokenizer_of(saved)
    reference = Reference.read(trained.file(REFERENCE))
    ours = load_model(saved.path, dtype=torch.float32)
    lesson = pairs_lesson(recipe, tokenizer)
    stages = [
        observe_pairs(ours, reference.probes, recipe, lesson, tokenizer, stage="saved"),
        _observe_plain(load_writer(saved.path), reference.probes, recipe.check.max_new_tokens),
    ]
    return compare(reference.probes, reference.trainer, stages)


def _observe_plain(writer: Writer, probes: Sequence[Probe], max_new_tokens: int) -> Observation:
    """What plain transformers reads, writes and pays."""
    answers = []
    written = writer.write([probe.text for probe in probes], max_new_tokens=max_new_tokens, at_once=1)
    for probe, (text, each) in zip(probes, written, strict=True):
        ids = each.ids + ((probe.stop_id,) if each.stopped else ())
        read = tuple(writer.ids(probe.text))
        answers.append(Answer(read, ids, text, each.stopped, each.first, _nats(writer, read, probe)))
    return Observation("transformers", "same", tuple(answers))


@torch.no_grad()
def _nats(writer: Writer, read: tuple[int, ...], probe: Probe) -> float:
    labels = torch.tensor([probe.answer_ids])
    return float(writer.model(input_ids=torch.tensor([read]), labels=labels).loss) * len(probe.answer_ids)
