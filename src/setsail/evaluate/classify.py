"""The evaluation of a classifier: every system on the same frozen test, what follows, and two files.

The result is the `Evaluation` of every task, with `classes` filled; predictions.jsonl has a line for each test row.
Not here: the figures themselves (`class_scores.py`) and what may be said about a difference (`verdict.py`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
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
from setsail.evaluate.doubts import Doubts
from setsail.evaluate.evaluation import Evaluation, SystemScores
from setsail.evaluate.interval import Interval, bootstrap, decide
from setsail.evaluate.ladder import Cost, climb
from setsail.evaluate.metrics import METRICS, Direction
from setsail.evaluate.more_rows import MoreRows, more_rows
from setsail.evaluate.probabilities import reliability
from setsail.evaluate.score import Plan
from setsail.evaluate.slices import Places, cut, of_rows

COMPARISONS = tuple(("tuned", rung) for rung in ("tfidf", "prompted", "probe", "neighbours", "keywords", "majority"))
IN_SLICES = "accuracy"  # macro F1 of a slice would be of the few labels that stand in it
LEAD = "macro_f1"  # by which the rungs of the ladder are held against one another
_SHOWN_CHARACTERS = 300
_SHOWN_LABELS = 8


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
    doubts: Doubts | None = None,
    contamination: Contamination | None = None,
) -> Evaluation:
    """Every system scored on the rows; writes evaluation.json and predictions.jsonl into `out`.

    The first pair of `plan.comparisons` gives the verdict, and its first system what is said label by label. `making`
    are the core-seconds that each system took to make, `core_hour` is the price of 3,600 of them; where that is not
    known, a system has no rung. `parts` are models that learned from so many of the training rows, for the forecast of
    what more would bring; `doubts` are passed on. Labels of `plan.nothing` say that there is nothing to say: micro F1
    is told of the others.
    Raises: DataError without rows; SystemRefusal if the disk is full or may not be written.
    """
    if not rows:
        raise DataError("there is no test row to score", hint="set data.split.test, or give more rows")
    truth = _truth(rows, labels, plan)
    probabilities, thousand = _asked(systems, [row.text for row in rows])
    measured = by_system(truth, probabilities)
    scores = {name: intervals(truth, each) for name, each in measured.items()}
    pairs = [pair for pair in plan.comparisons if set(pair) <= set(systems)]
    comparisons = tuple(_compare(truth, measured, scores, pair) for pair in pairs)
    compared = pairs[0] if pairs else (next(iter(systems)),)
    shown = compared[0]
    ladder = climb(
        LEAD,
        {name: scores[name][LEAD].value for name in making},
        {name: Cost(making[name], thousand[name]) for name in making},
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
        classes=replace(
            _classes(truth, rows, labels, probabilities, measured, shown=shown, num_mistakes=plan.num_samples),
            doubts=doubts,
        ),
        slices=cut(
            of_rows(rows),
            IN_SLICES,
            lambda places: {name: _accuracy(truth, measured[name], places) for name in compared},
        ),
        ladder=ladder,
        more_rows=_more_rows(truth, parts or {}, [row.text for row in rows]),
    )
    with explained_os_errors("writing the evaluation"):
        _write_predictions(out / prediction.FILE, rows, labels, probabilities)
        result.write_evaluation(out / result.FILE, evaluation)
    return evaluation


def _asked(
    systems: Mapping[str, Classify], texts: Sequence[str]
) -> tuple[dict[str, NDArray[np.float64]], dict[str, float]]:
    """Each system's probabilities, and the core-seconds that a thousand answers take it."""
    probabilities, thousand = {}, {}
    for name, classify in systems.items():
        before = time.process_time()
        probabilities[name] = classify(texts)
        thousand[name] = (time.process_time() - before) / len(texts) * 1000
    return probabilities, thousand


def _truth(rows: Sequence[Row], labels: Sequence[str], plan: Plan) -> Truth:
    """Raises: DataError for rows whose label is none of these."""
    index = {label: number for number, label in enumerate(labels)}
    strange = [row for row in rows if row.label not in index]
    if strange:
        named = ", ".join(dict.fromkeys(f'"{row.label}"' for row in strange[:_SHOWN_LABELS]))
        raise DataError(
            f"{len(strange)} rows have a label that the model does not know: {named}",
            place=strange[0].origin,
            hint=f"its labels are {', '.join(labels[:_SHOWN_LABELS])}; mend them, or train with these rows",
        )
    return Truth(
        labels=np.array([index[row.label] for row in rows], dtype=np.int64),
        groups=tuple(row.group for row in rows),
        num_classes=len(labels),
        resamples=plan.resamples,
        seed=plan.seed,
        nothing=tuple(index[label] for label in plan.nothing if label in index),
    )


def _accuracy(truth: Truth, measured: Measured, places: Places) -> Interval:
    groups = [truth.groups[place] for place in places]
    return bootstrap(measured.right[places].tolist(), groups=groups, resamples=truth.resamples, seed=truth.seed)


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
        reliability=reliability(truth.labels, probabilities[shown]),
    )


def _mistakes(rows: Sequence[Row], labels: Sequence[str], probabilities: NDArray[np.float64]) -> tuple[Mistake, ...]:
    """Rows with the wrong label, those first of which the system was surest: often the label is what is wrong."""
    found = [
        Mistake(row.id, row.text[:_SHOWN_CHARACTERS], row.label, labels[said], float(probabilities[place, said]))
        for place, (row, said) in enumerate(zip(rows, map(int, probabilities.argmax(axis=1)), strict=True))
        if labels[said] != row.label
    ]
    return tuple(sorted(found, key=lambda mistake: (-(mistake.probability or 0.0), mistake.row_id)))


def _write_predictions(
    path: Path, rows: Sequence[Row], labels: Sequence[str], probabilities: Mapping[str, NDArray[np.float64]]
) -> None:
    """One JSON line per row: its text, its label, and each system's label with its probability.

    Of up to 50 labels every probability is kept, in the order of the evaluation's labels.
    """
    keeps_all = len(labels) <= MOST_IN_MATRIX
    with path.open("w", encoding="utf-8") as lines:
        for place, row in enumerate(rows):
            said = {
                name: {
                    "label": labels[int(values[place].argmax())],
                    "probability": float(values[place].max()),
                    **({"probabilities": [round(float(share), 7) for share in values[place]]} if keeps_all else {}),
                }
                for name, values in probabilities.items()
            }
            record = {"row_id": row.id, "group": row.group, "text": row.text, "label": row.label, "systems": said}
            lines.write(json.dumps(record, ensure_ascii=False) + "\n")
