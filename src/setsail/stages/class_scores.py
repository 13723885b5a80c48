"""The evaluation stage of a classifier: the saved folder, TF-IDF and the most frequent label on one frozen test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from setsail.base.artifact import Artifact
from setsail.base.device import device, move, prepare_device
from setsail.evaluate.class_baselines import majority, tfidf_regression
from setsail.evaluate.classify import COMPARISONS, evaluate_classes
from setsail.evaluate.contamination import take_out
from setsail.evaluate.evaluation import Evaluation
from setsail.evaluate.question import choose_rows
from setsail.evaluate.score import Plan
from setsail.models.plain_classifier import load_plain
from setsail.stages.data import read_parts
from setsail.stages.evaluate import table
from setsail.stages.stage import StageSpec, Voyage, make

TEXTS_AT_ONCE = 32


def make_class_evaluation(voyage: Voyage, data: Artifact, trained: Artifact) -> Artifact:
    """Scores with intervals, label by label, confusions, mistakes, and whether training was worth it."""
    recipe = voyage.recipe

    def build(draft: Path) -> Mapping[str, Any]:
        evaluation = _evaluate(voyage, data, trained, draft)
        for line in table(evaluation):
            voyage.log.say(f"  {line}")
        voyage.log.say(f"  {evaluation.verdict}")
        return {"verdict": evaluation.verdict, "decision": evaluation.decision, "num_rows": evaluation.num_rows}

    settings = {
        "evaluate": recipe.evaluate.model_dump(mode="json"),
        "near": recipe.data.near_duplicates,
        "seed": recipe.seed,
        "overlong": recipe.data.overlong,
    }
    return make(voyage, StageSpec("evaluate", settings, {"data": data, "tuned": trained}, {}), build)


def _evaluate(voyage: Voyage, data: Artifact, trained: Artifact, draft: Path) -> Evaluation:
    recipe = voyage.recipe
    prepare_device(recipe.seed)
    parts = read_parts(data)
    clean, contamination = take_out(parts.test, parts.train, threshold=recipe.data.near_duplicates)
    rows = choose_rows(clean, recipe.evaluate.max_rows, seed=recipe.seed)
    classifier = load_plain(trained.path)
    move(classifier.model, device())
    if recipe.data.overlong == "drop":
        fit = [row for row in rows if len(classifier.ids(row.text)) <= classifier.context]
        if len(fit) < len(rows):
            voyage.log.say(f"  {len(rows) - len(fit)} test rows are longer than the context and are not scored")
        rows = fit

    def tuned(texts: Sequence[str]) -> NDArray[np.float64]:
        logits = classifier.logits(texts, at_once=TEXTS_AT_ONCE)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        return shares / shares.sum(axis=1, keepdims=True)

    systems = {
        "tuned": tuned,
        "tfidf": tfidf_regression(parts.train, parts.validation, classifier.labels),
        "majority": majority(parts.train, classifier.labels),
    }
    settings = recipe.evaluate
    plan = Plan(COMPARISONS, num_samples=settings.samples, resamples=settings.resamples, seed=recipe.seed)
    return evaluate_classes(systems, rows, classifier.labels, draft, plan=plan, contamination=contamination)
