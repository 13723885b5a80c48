"""The faithfulness stage of a reader: the trainer's logits against the saved folder in anybody's hands."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from setsail.base.artifact import Artifact
from setsail.base.device import prepare_device
from setsail.compress.check import Verdict
from setsail.compress.check_reader import ReadObservation, ReadReference, compare_readings
from setsail.models.plain_reader import PlainReader, load_plain
from setsail.stages.check import refuse_or_write
from setsail.stages.stage import StageSpec, Voyage, make
from setsail.tasks.registry import find_reading

TEXTS_AT_ONCE = (1, 8)


def make_read_check(voyage: Voyage, trained: Artifact) -> Artifact:
    """The verdict over the folder, one text at a time and padded together; a breach refuses.

    Raises:
        CheckRefused: naming what differs; the figures stand in faithfulness-refused.json.
    """

    def build(draft: Path) -> Mapping[str, Any]:
        prepare_device(voyage.recipe.seed)
        return refuse_or_write(voyage, check_folder(trained), draft)

    settings = {"check": voyage.recipe.check.model_dump(mode="json")}
    return make(voyage, StageSpec("check", settings, {"trained": trained}, {}), build)


def check_folder(trained: Artifact) -> Verdict:
    """The trainer's record in the artefact against what its folder says."""
    reference = ReadReference.from_json(json.loads(trained.file("reference.json").read_text("utf-8")))
    reader = load_plain(trained.path, find_reading(reference.task).head)
    return Verdict(
        tuple(
            finding
            for at_once in TEXTS_AT_ONCE
            for finding in compare_readings(reference, _observe(reader, reference, at_once))
        )
    )


def _observe(reader: PlainReader, reference: ReadReference, at_once: int) -> ReadObservation:
    texts = [probe.texts for probe in reference.probes]
    logits = reader.logits(texts, at_once=at_once)
    return ReadObservation(
        stage=f"folder, {at_once} at once",
        labels=reader.labels,
        ids=tuple(tuple(reader.encoding(each).ids) for each in texts),
        logits=tuple(tuple(map(tuple, np.atleast_2d(values).tolist())) for values in logits),
    )
