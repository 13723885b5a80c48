"""The evaluation of what writes texts from texts: every system on one test, with the metrics of the task and a ladder.

The answers, means and intervals are those of every task that answers (`score.py`); what is added is drawn with the same
resamples. Not here: the metrics of a row (`pair_metrics.py`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from setsail.base.errors import DataError
from setsail.base.files import explained_os_errors
from setsail.data.row import Message, Row
from setsail.evaluate import evaluation as result
from setsail.evaluate import prediction, verdict
from setsail.evaluate.contamination import Contamination
from setsail.evaluate.evaluation import Evaluation, SystemScores
from setsail.evaluate.interval import Interval, bootstrap, decide, difference, draw_units, interval_of
from setsail.evaluate.ladder import Cost, climb
from setsail.evaluate.metrics import METRICS, Direction
from setsail.evaluate.pair_metrics import SUMS, Sums, Texts, bleu_counts, bleu_of
from setsail.evaluate.prediction import Prediction
from setsail.evaluate.question import question_text
from setsail.evaluate.score import Plan, summarise
from setsail.evaluate.system import Answer, System
from setsail.evaluate.verdict import Comparison, Difference

LEAD = "chrf"  # by which the rungs of the ladder are held against one another
ALWAYS_TOLD = ("num_tokens",)
COMPARISONS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "translate": (("tuned", "base"), ("tuned", "nearest"), ("tuned", "words"), ("tuned", "copy")),
    "summarize": (("tuned", "base"), ("tuned", "lead"), ("tuned", "extract"), ("tuned", "nearest")),
    "rewrite": (("tuned", "base"), ("tuned", "copy"), ("tuned", "nearest")),
}
_BETTER: Mapping[str, Direction] = {metric.name: metric.better for metric in METRICS}


@dataclass(frozen=True)
class _Measured:
    """One system: the sums of each metric row by row, and of BLEU the counts [N, 10]."""

    sums: Mapping[str, Sums]
    counts: NDArray[np.float64] | None


def evaluate_pairs(
    systems: Mapping[str, System],
    rows: Sequence[Row],
    out: Path,
    *,
    metrics: Sequence[str],
    plan: Plan,
    making: Mapping[str, float],
    core_hour: float,
    contamination: Contamination | None = None,
) -> Evaluation:
    """Every system scored on the rows by these metrics; writes evaluation.json and predictions.jsonl into `out`.

    `making` are the core-seconds that each system took to make, `core_hour` is the price of 3,600 of them. A system of
    which that is not known has no rung.
    Raises: DataError without rows; SystemRefusal if the disk is full or may not be written.
    """
    if not rows:
        raise DataError("there is no test row to score", hint="set data.split.test, or give more rows")
    thousand: dict[str, float] = {}
    timed = {name: _timed(name, system, len(rows), thousand) for name, system in systems.items()}
    predictions = prediction.ask(timed, rows)
    evaluation = with_pair_metrics(
        summarise(predictions, plan=plan, contamination=contamination), predictions, metrics, plan
    )
    costs = {name: Cost(making[name], thousand[name]) for name in systems if name in making and name in thousand}
    values = {name: evaluation.systems[name].metrics[LEAD].value for name in costs}

    def gap(system: str, against: str) -> Interval:
        left, right = (prediction.series(predictions, name, LEAD) for name in (system, against))
        assert left is not None and right is not None, "what has a rung has answers"
        return difference(left, right, groups=_groups(predictions), resamples=plan.resamples, seed=plan.seed)

    evaluation = replace(evaluation, ladder=climb(LEAD, values, costs, gap, core_hour=core_hour))
    with explained_os_errors("writing the evaluation"):
        prediction.write_predictions(out / prediction.FILE, predictions)
        result.write_evaluation(out / result.FILE, evaluation)
    return evaluation


def with_pair_metrics(
    evaluation: Evaluation, predictions: Sequence[Prediction], metrics: Sequence[str], plan: Plan
) -> Evaluation:
    """The evaluation with the metrics of the task alone, in scores, comparisons and the verdict."""
    measured = {
        name: _measure(predictions, name, metrics)
        for name, scores in evaluation.systems.items()
        if LEAD in scores.metrics
    }
    told = {*metrics, *ALWAYS_TOLD}
    systems = {}
    for name, scores in evaluation.systems.items():
        more = _intervals(predictions, measured[name], plan) if name in measured else {}
        every = {**scores.metrics, **more}
        kept = {metric.name: every[metric.name] for metric in METRICS if metric.name in every and metric.name in told}
        systems[name] = SystemScores(kept, scores.corpus_chrf)
    comparisons = tuple(_compare(each, predictions, measured, systems, told, plan) for each in evaluation.comparisons)
    return replace(
        evaluation,
        systems=systems,
        comparisons=comparisons,
        decision=comparisons[0].decision if comparisons else "not_shown",
        verdict=verdict.sentence(comparisons[0]) if comparisons else evaluation.verdict,
    )


def _measure(predictions: Sequence[Prediction], system: str, metrics: Sequence[str]) -> _Measured:
    texts = Texts(
        sources=[question_text(row.prompt) for row in predictions],
        references=[row.reference for row in predictions],
        answers=[row.systems[system].answer for row in predictions],
    )
    sums = {name: SUMS[name](texts) for name in metrics if name in SUMS}
    # Where no row has a placeholder, none can be kept or lost.
    sums = {name: each for name, each in sums.items() if each.counting}
    return _Measured(sums, bleu_counts(texts.answers, texts.references) if "bleu" in metrics else None)


def _intervals(predictions: Sequence[Prediction], measured: _Measured, plan: Plan) -> dict[str, Interval]:
    groups = _groups(predictions)
    found = {}
    for name, each in measured.sums.items():
        tops, bottoms, drawn = _counting(each, groups)
        found[name] = bootstrap(tops, weights=bottoms, groups=drawn, resamples=plan.resamples, seed=plan.seed)
    if measured.counts is not None:
        value, draws = _drawn_bleu(measured.counts, groups, plan)
        found["bleu"] = interval_of(value, draws, _num_units(predictions))
    return found


def _compare(
    comparison: Comparison,
    predictions: Sequence[Prediction],
    measured: Mapping[str, _Measured],
    systems: Mapping[str, SystemScores],
    told: set[str],
    plan: Plan,
) -> Comparison:
    """The comparison with the differences of the added metrics, by the same draws."""
    pair, groups = (comparison.system, comparison.against), _groups(predictions)
    differences = {name: found for name, found in comparison.differences.items() if name in told}
    if not set(pair) <= set(measured):
        return verdict.compare(*pair, differences)
    left, right = (measured[name] for name in pair)
    gaps = {}
    for name in left.sums:
        ours, bottoms, drawn = _counting(left.sums[name], groups)
        theirs, _, _ = _counting(right.sums[name], groups)
        settings = {"weights": bottoms, "groups": drawn, "resamples": plan.resamples, "seed": plan.seed}
        gaps[name] = difference(ours, theirs, **settings)
    if left.counts is not None and right.counts is not None:
        values, draws = zip(*(_drawn_bleu(each, groups, plan) for each in (left.counts, right.counts)), strict=True)
        gaps["bleu"] = interval_of(values[0] - values[1], draws[0] - draws[1], _num_units(predictions))
    for name, gap in gaps.items():
        own, other = (systems[each].metrics[name].value for each in pair)
        differences[name] = Difference(own, other, gap, decide(gap, _BETTER[name]))
    return verdict.compare(*pair, differences)


def _counting(sums: Sums, groups: Sequence[str]) -> tuple[list[float], list[float] | None, list[str]]:
    """The sums and groups of the rows that a metric speaks of."""
    places = sums.counting
    bottoms = None if sums.bottoms is None else [sums.bottoms[place] for place in places]
    return [sums.tops[place] for place in places], bottoms, [groups[place] for place in places]


def _drawn_bleu(counts: NDArray[np.float64], groups: Sequence[str], plan: Plan) -> tuple[float, NDArray[np.float64]]:
    """BLEU over all rows, and of every draw [R]."""
    draws = draw_units(groups, len(counts), resamples=plan.resamples, seed=plan.seed)
    sums = np.stack([weights @ counts for weights in draws])
    return float(bleu_of(counts.sum(axis=0))), bleu_of(sums)


def _timed(name: str, system: System, num_rows: int, thousand: dict[str, float]) -> System:
    """The system, which notes what a thousand of its answers take."""
    if system.answers is None:
        return system
    answer: Callable[[Sequence[tuple[Message, ...]]], Sequence[Answer]] = system.answers

    def answers(prompts: Sequence[tuple[Message, ...]]) -> Sequence[Answer]:
        before = core_seconds()
        made = answer(prompts)
        thousand[name] = (core_seconds() - before) / num_rows * 1000
        return made

    return replace(system, answers=answers)


def core_seconds() -> float:
    """The processor time of this process and of the children that have ended."""
    return math.fsum(os.times()[:4])


def _groups(predictions: Sequence[Prediction]) -> list[str]:
    return [row.group for row in predictions]


def _num_units(predictions: Sequence[Prediction]) -> int:
    return len({row.group or row.row_id for row in predictions})
