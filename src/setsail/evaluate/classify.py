"""The evaluation of a classifier: every system on the same frozen test, what follows, and two files.

The result is the `Evaluation` of every task, with `classes` filled; predictions.jsonl has a line for each test row.
Not here: the figures themselves (`class_scores.py`) and what may be said about a difference (`verdict.py`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from setsail.base.errors import DataError
from setsail.base.files import explained_os_errors
from setsail.data.row import Row
from setsail.evaluate import evaluation as result
from setsail.evaluate import prediction, verdict
from setsail.evaluate.class_baselines import Classify
from setsail.evaluate.class_scores import (
    MOST_IN_MATRIX,
    ClassReport,
    Measured,
    Mistake,
    Truth,
    by_system,
    class_scores,
    confusion_matrix,
    confusions,
    gaps,
    intervals,
    mcnemar,
)
from setsail.evaluate.contamination import Contamination
from setsail.evaluate.evaluation import Evaluation, SystemScores
from setsail.evaluate.interval import Interval, decide
from setsail.evaluate.ladder import Cost, climb
from setsail.evaluate.metrics import METRICS, Direction
from setsail.evaluate.more_rows import MoreRows, more_rows
from setsail.evaluate.score import Plan

COMPARISONS = (("tuned", "tfidf"), ("tuned", "neighbours"), ("tuned", "keywords"), ("tuned", "majority"))
LEAD = "macro_f1"  # by which the rungs of the ladder are held against one another
_SHOWN_CHARACTERS = 300


def evaluate_classes(
    systems: Mapping[str, Classify],
    rows: Sequence[Row],
    labels: Sequence[str],
    out: Path,
    *,
    plan: Plan,
    making: Mapping[str, float],
    core_hour: float,
    parts: Mapping[int, Classify] | None = None,
    contamination: Contamination | None = None,
) -> Evaluation:
    """Every system scored on the rows; writes evaluation.json and predictions.jsonl into `out`.

    The first pair of `plan.comparisons` gives the verdict, and its first system what is said label by label. `making`
    are the core-seconds that each system took to make, `core_hour` is the price of 3,600 of them. `parts` are models
    that learned from so many of the training rows, for the forecast of what more would bring.
    Raises: DataError without rows; SystemRefusal if the disk is full or may not be written.
    """
    if not rows:
        raise DataError("there is no test row to score", hint="set data.split.test, or give more rows")
    texts = [row.text for row in rows]
    probabilities, thousand = {}, {}
    for name, classify in systems.items():
        before = time.process_time()
        probabilities[name] = classify(texts)
        thousand[name] = (time.process_time() - before) / len(texts) * 1000
    index = {label: number for number, label in enumerate(labels)}
    truth = Truth(
        labels=np.array([index[row.label] for row in rows], dtype=np.int64),
        groups=tuple(row.group for row in rows),
        num_classes=len(labels),
        resamples=plan.resamples,
        seed=plan.seed,
    )
    measured = by_system(truth, probabilities)
    scores = {name: intervals(truth, each) for name, each in measured.items()}
    pairs = [pair for pair in plan.comparisons if set(pair) <= set(systems)]
    comparisons = tuple(_compare(truth, measured, scores, pair) for pair in pairs)
    shown = pairs[0][0] if pairs else next(iter(systems))
    ladder = climb(
        LEAD,
        {name: each[LEAD].value for name, each in scores.items()},
        {name: Cost(making[name], thousand[name]) for name in systems},
        lambda system, against: gaps(truth, measured[system], measured[against])[LEAD],
        core_hour=core_hour,
    )
    evaluation = Evaluation(
        format=result.FORMAT,
        num_rows=len(rows),
        num_groups=len({row.group or row.id for row in rows}),
        resamples=plan.resamples,
        seed=plan.seed,
        contamination=contamination,
        systems={name: SystemScores(metrics, None) for name, metrics in scores.items()},
        comparisons=comparisons,
        decision=comparisons[0].decision if comparisons else "not_shown",
        verdict=verdict.sentence(comparisons[0]) if comparisons else "Nothing was compared.",
        samples_how="",
        samples=(),
        classes=_classes(truth, rows, labels, probabilities, measured, shown=shown, num_mistakes=plan.num_samples),
        ladder=ladder,
        more_rows=_more_rows(truth, parts or {}, texts),
    )
    with explained_os_errors("writing the evaluation"):
        _write_predictions(out / prediction.FILE, rows, labels, probabilities)
        result.write_evaluation(out / result.FILE, evaluation)
    return evaluation


def _more_rows(truth: Truth, parts: Mapping[int, Classify], texts: Sequence[str]) -> MoreRows | None:
    if len(parts) < 2:
        return None
    sizes = sorted(parts)
    right = np.stack([parts[size](texts).argmax(axis=1) == truth.labels for size in sizes]).astype(np.float64)
    return more_rows(sizes, right, truth.groups, resamples=truth.resamples, seed=truth.seed)


def _compare(
    truth: Truth,
    measured: Mapping[str, Measured],
    scores: Mapping[str, Mapping[str, Interval]],
    pair: tuple[str, str],
) -> verdict.Comparison:
    system, against = pair
    better: dict[str, Direction] = {metric.name: metric.better for metric in METRICS}
    differences = {
        name: verdict.Difference(
            scores[system][name].value, scores[against][name].value, gap, decide(gap, better[name])
        )
        for name, gap in gaps(truth, measured[system], measured[against]).items()
    }
    return verdict.compare(system, against, differences)


def _classes(
    truth: Truth,
    rows: Sequence[Row],
    labels: Sequence[str],
    probabilities: Mapping[str, NDArray[np.float64]],
    measured: Mapping[str, Measured],
    *,
    shown: str,
    num_mistakes: int,
) -> ClassReport:
    matrix = confusion_matrix(truth, probabilities[shown].argmax(axis=1))
    return ClassReport(
        system=shown,
        labels=tuple(labels),
        scores=class_scores(truth, measured[shown], labels),
        matrix=tuple(tuple(int(count) for count in line) for line in matrix) if len(labels) <= MOST_IN_MATRIX else (),
        confusions=confusions(matrix, labels),
        paired=tuple(mcnemar((shown, other), measured[shown], measured[other]) for other in measured if other != shown),
        mistakes=_mistakes(rows, labels, probabilities[shown])[:num_mistakes],
    )


def _mistakes(rows: Sequence[Row], labels: Sequence[str], probabilities: NDArray[np.float64]) -> tuple[Mistake, ...]:
    """Rows with the wrong label, those first of which the system was surest: often the label is what is wrong."""
    found = [
        Mistake(row.id, row.text[:_SHOWN_CHARACTERS], row.label, labels[said], float(probabilities[place, said]))
        for place, (row, said) in enumerate(zip(rows, map(int, probabilities.argmax(axis=1)), strict=True))
        if labels[said] != row.label
    ]
    return tuple(sorted(found, key=lambda mistake: (-mistake.probability, mistake.row_id)))


def _write_predictions(
    path: Path, rows: Sequence[Row], labels: Sequence[str], probabilities: Mapping[str, NDArray[np.float64]]
) -> None:
    """One JSON line per row: its text, its label, and each system's label with its probability."""
    with path.open("w", encoding="utf-8") as lines:
        for place, row in enumerate(rows):
            said = {
                name: {"label": labels[int(values[place].argmax())], "probability": float(values[place].max())}
                for name, values in probabilities.items()
            }
            record = {"row_id": row.id, "group": row.group, "text": row.text, "label": row.label, "systems": said}
            lines.write(json.dumps(record, ensure_ascii=False) + "\n")
