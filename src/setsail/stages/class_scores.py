"""The evaluation stage of a classifier: the saved folder and every rung below it on one frozen test."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from setsail.base.artifact import Artifact
from setsail.base.device import device, move, prepare_device
from setsail.base.machine import num_cores
from setsail.evaluate import ladder, more_rows
from setsail.evaluate.class_baselines import Classify, keywords, majority, neighbours, tfidf_regression
from setsail.evaluate.classify import COMPARISONS, evaluate_classes
from setsail.evaluate.contamination import take_out
from setsail.evaluate.evaluation import Evaluation
from setsail.evaluate.question import choose_rows
from setsail.evaluate.score import Plan
from setsail.models.embedder import load_embedder
from setsail.models.plain_classifier import load_plain
from setsail.stages.data import Parts, read_parts
from setsail.stages.evaluate import table
from setsail.stages.stage import StageSpec, Voyage, make

TEXTS_AT_ONCE = 32
MOST_NEIGHBOURS = 5000  # training texts of which vectors are made
MOST_VALIDATION_ROWS = 512


def make_class_evaluation(voyage: Voyage, data: Artifact, base: Artifact, trained: Artifact) -> Artifact:
    """Scores with intervals, label by label, confusions, mistakes, whether training was worth it, and what it cost."""
    recipe = voyage.recipe

    def build(draft: Path) -> Mapping[str, Any]:
        evaluation = _evaluate(voyage, data, base, trained, draft)
        assert evaluation.ladder is not None
        stop = ladder.sentence(evaluation.ladder)
        lines = [*table(evaluation), *_rungs(evaluation.ladder), evaluation.verdict, stop]
        if evaluation.more_rows is not None:
            lines.append(more_rows.sentence(evaluation.more_rows))
        for line in lines:
            voyage.log.say(f"  {line}")
        facts = {"decision": evaluation.decision, "num_rows": evaluation.num_rows, "ladder": stop}
        return {"verdict": evaluation.verdict, **facts}

    settings = {
        "evaluate": recipe.evaluate.model_dump(mode="json"),
        "near": recipe.data.near_duplicates,
        "seed": recipe.seed,
        "overlong": recipe.data.overlong,
    }
    return make(
        voyage, StageSpec("evaluate", settings, {"data": data, "base": base, "tuned": trained}, {}, version=2), build
    )


def _rungs(climbed: ladder.Ladder) -> list[str]:
    """The ladder as lines of a terminal, the cheapest first."""
    lines = [f"{'to make':<16}{'core-seconds':>14}{'money':>12}{'a thousand texts':>18}"]
    for rung in climbed.rungs:
        cost, money = rung.cost, climbed.money(rung)
        lines.append(f"{rung.system:<16}{cost.making:>14.2f}{money:>12.5f}{cost.thousand:>16.2f} s")
    return lines


def _of_parts(parts: Parts, labels: Sequence[str], *, whole: Classify, voyage: Voyage) -> dict[int, Classify]:
    """The cheap model of nested parts of the training rows, the smaller inside the larger; `whole` is that of all."""
    sizes = {round(share * len(parts.train)) for share in more_rows.SHARES} - {len(parts.train)}
    made = {len(parts.train): whole}
    with voyage.log.progress("parts of the training rows", len(sizes)) as progress:
        for size in sorted(sizes):
            if size >= more_rows.LEAST_ROWS:
                some = choose_rows(parts.train, size, seed=voyage.recipe.seed)
                made[size] = tfidf_regression(some, parts.validation, labels)
            progress.advance()
    return made


def _evaluate(voyage: Voyage, data: Artifact, base: Artifact, trained: Artifact, draft: Path) -> Evaluation:
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

    systems: dict[str, Classify] = {"tuned": tuned}
    known = trained.metrics  # a model trained by an earlier setsail states no core-hours
    making = {"tuned": 3600 * known["core_hours"] if "core_hours" in known else known["actual_seconds"] * num_cores()}
    below: dict[str, Callable[[], Classify]] = {
        "majority": lambda: majority(parts.train, classifier.labels),
        "keywords": lambda: keywords(parts.train, classifier.labels),
        "tfidf": lambda: tfidf_regression(parts.train, parts.validation, classifier.labels),
        "neighbours": lambda: neighbours(
            load_embedder(base.path, context=classifier.context).vectors,
            choose_rows(parts.train, MOST_NEIGHBOURS, seed=recipe.seed),
            choose_rows(parts.validation, MOST_VALIDATION_ROWS, seed=recipe.seed),
            classifier.labels,
        ),
    }
    with voyage.log.progress("ladder", len(below)) as progress:
        for name, make_rung in below.items():
            before = time.process_time()
            systems[name] = make_rung()
            making[name] = time.process_time() - before
            progress.advance()
    settings = recipe.evaluate
    plan = Plan(COMPARISONS, num_samples=settings.samples, resamples=settings.resamples, seed=recipe.seed)
    return evaluate_classes(
        systems,
        rows,
        classifier.labels,
        draft,
        plan=plan,
        making=making,
        core_hour=settings.core_hour,
        parts=_of_parts(parts, classifier.labels, whole=systems["tfidf"], voyage=voyage),
        contamination=contamination,
    )
