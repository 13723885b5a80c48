"""The faithfulness stage of a classifier: the trainer's logits against the saved folder in anybody's hands."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from setsail.base.artifact import Artifact
from setsail.base.device import prepare_device
from setsail.compress.check import Verdict
from setsail.compress.check_classifier import LabelObservation, LabelReference, compare_labels
from setsail.models.plain_classifier import PlainClassifier, load_plain
from setsail.stages.check import refuse_or_write
from setsail.stages.stage import StageSpec, Voyage, make

TEXTS_AT_ONCE = (1, 8)


def make_class_check(voyage: Voyage, trained: Artifact) -> Artifact:
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
    reference = LabelReference.from_json(json.loads(trained.file("reference.json").read_text("utf-8")))
    classifier = load_plain(trained.path)
    return Verdict(
        tuple(
            finding
            for at_once in TEXTS_AT_ONCE
            for finding in compare_labels(reference, _observe(classifier, reference, at_once))
        )
    )


def _observe(classifier: PlainClassifier, reference: LabelReference, at_once: int) -> LabelObservation:
    texts = [probe.text for probe in reference.probes]
    logits = classifier.logits(texts, at_once=at_once)
    return LabelObservation(
        stage=f"folder, {at_once} at once",
        labels=classifier.labels,
        ids=tuple(tuple(classifier.ids(text)) for text in texts),
        logits=tuple(tuple(values) for values in logits.tolist()),
    )
