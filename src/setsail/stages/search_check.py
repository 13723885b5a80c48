"""The faithfulness stage of embed and rank: the trainer's values against the saved folder in anybody's hands."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from setsail.base.artifact import Artifact
from setsail.base.device import prepare_device
from setsail.compress.check import Verdict
from setsail.compress.check_values import ValueObservation, ValueProbe, ValueReference, compare_values
from setsail.models.embedder import load_embedder
from setsail.models.plain_ranker import load_ranker
from setsail.models.sentence_encoder import refuse_other_pooling
from setsail.stages.check import refuse_or_write
from setsail.stages.stage import StageSpec, Voyage, make

TEXTS_AT_ONCE = (1, 8)


def make_search_check(voyage: Voyage, trained: Artifact) -> Artifact:
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
    reference = ValueReference.from_json(json.loads(trained.file("reference.json").read_text("utf-8")))
    observe = OBSERVE[reference.noun]
    seen = [observe(trained.path, reference.probes, at_once) for at_once in TEXTS_AT_ONCE]
    return Verdict(tuple(finding for each in seen for finding in compare_values(reference, each)))


def _vectors(folder: Path, probes: Sequence[ValueProbe], at_once: int) -> ValueObservation:
    refuse_other_pooling(folder)
    embedder = load_embedder(folder, context=max(len(probe.ids) for probe in probes))
    texts = [probe.texts[0] for probe in probes]
    vectors = embedder.vectors(texts, at_once=at_once)
    return ValueObservation(
        stage=f"folder, {at_once} at once",
        ids=tuple(tuple(embedder.tokenizer(text)["input_ids"]) for text in texts),
        values=tuple(tuple(vector) for vector in vectors.tolist()),
    )


def _scores(folder: Path, probes: Sequence[ValueProbe], at_once: int) -> ValueObservation:
    ranker = load_ranker(folder)
    pairs = [(probe.texts[0], probe.texts[1]) for probe in probes]
    return ValueObservation(
        stage=f"folder, {at_once} at once",
        ids=tuple(tuple(ranker.ids(pair)) for pair in pairs),
        values=tuple((value,) for value in ranker.logits(pairs, at_once=at_once).tolist()),
    )


# By what the trainer said of texts: what a folder says of them.
OBSERVE: dict[str, Callable[[Path, Sequence[ValueProbe], int], ValueObservation]] = {
    "vectors": _vectors,
    "scores": _scores,
}
