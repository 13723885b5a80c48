"""The faithfulness stage of embed and rank: the trainer's values against the saved folder, and against ONNX files."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from setsail.base.artifact import Artifact
from setsail.compress.check import Verdict
from setsail.compress.check_rounded import compare_rounded_values
from setsail.compress.check_values import ValueObservation, ValueProbe, ValueReference, compare_values
from setsail.models.embedder import load_embedder
from setsail.models.onnx_model import OnnxEmbedder, OnnxRanker, load_onnx, read_settings
from setsail.models.plain_ranker import load_ranker
from setsail.models.sentence_encoder import refuse_other_pooling
from setsail.stages.answering.search_predictors import Embeds, Ranks
from setsail.stages.checks.reader import TEXTS_AT_ONCE, make_encoder_check
from setsail.stages.stage import Voyage


def make_search_check(voyage: Voyage, trained: Artifact, exported: Artifact | None = None) -> Artifact:
    """The check of vectors and of scores: see `make_encoder_check`."""
    return make_encoder_check(voyage, trained, exported, of_folder=check_folder, of_files=check_exported)


def check_folder(trained: Artifact) -> Verdict:
    """The trainer's record in the artefact against what its folder says."""
    reference = _reference(trained)
    load = OPEN[reference.noun]
    system = load(trained.path, reference.probes)
    seen = [_observe(system, reference, "folder", at_once) for at_once in TEXTS_AT_ONCE]
    return Verdict(tuple(finding for each in seen for finding in compare_values(reference, each)))


def check_exported(trained: Artifact, exported: Artifact) -> Verdict:
    """The trainer's record against what onnxruntime says with each exported file, eight bits within wider limits."""
    reference, findings = _reference(trained), []
    for weights in read_settings(exported.path).weights:
        model = load_onnx(exported.path, weights)
        system = OnnxEmbedder(model) if reference.noun == "vectors" else OnnxRanker(model)
        compare = compare_rounded_values if model.alone else compare_values
        for at_once in TEXTS_AT_ONCE[:1] if model.alone else TEXTS_AT_ONCE:
            findings += compare(reference, _observe(system, reference, f"onnx {weights}", at_once))
    return Verdict(tuple(findings))


def _reference(trained: Artifact) -> ValueReference:
    return ValueReference.from_json(json.loads(trained.file("reference.json").read_text("utf-8")))


def _observe(system: Embeds | Ranks, reference: ValueReference, stage: str, at_once: int) -> ValueObservation:
    stage = f"{stage}, {at_once} at once"
    asked: Any = [probe.texts[0] if reference.noun == "vectors" else probe.texts[:2] for probe in reference.probes]
    ids = tuple(tuple(system.ids(each)) for each in asked)
    if reference.noun == "vectors":
        vectors = cast(Embeds, system).vectors(asked, at_once=at_once)
        return ValueObservation(stage, ids, tuple(tuple(vector) for vector in vectors.tolist()))
    scores = cast(Ranks, system).logits(asked, at_once=at_once)
    return ValueObservation(stage, ids, tuple((value,) for value in scores.tolist()))


def _embedder(folder: Path, probes: Sequence[ValueProbe]) -> Embeds:
    refuse_other_pooling(folder)
    return load_embedder(folder, context=max(len(probe.ids) for probe in probes))


# By what the trainer said of texts: what of a folder says it.
OPEN: dict[str, Callable[[Path, Sequence[ValueProbe]], Embeds | Ranks]] = {
    "vectors": _embedder,
    "scores": lambda folder, probes: load_ranker(folder),
}
