"""The evaluation of searching: every system on the same held-out queries, what follows, and two files.

Texts are found among all texts of the data (embed), or the judged texts of a query are ordered (rank). Where pairs have
scores, it is told how well the order of cosines agrees with them. The result is the `Evaluation` of every task.
Queries are drawn again in whole groups and paired between systems. Not here: the figures of one query
(`search_metrics.py`) and what may be said about a difference (`verdict.py`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from setsail.base.errors import DataError
from setsail.base.files import explained_os_errors
from setsail.evaluate import evaluation as result
from setsail.evaluate import prediction, verdict
from setsail.evaluate.contamination import Contamination
from setsail.evaluate.evaluation import Evaluation, Missed, SystemScores
from setsail.evaluate.interval import Interval, bootstrap, decide, difference, draw_units, interval_of
from setsail.evaluate.ladder import Cost, climb
from setsail.evaluate.metrics import METRICS, Direction
from setsail.evaluate.score import Plan
from setsail.evaluate.search_baselines import Alike, Asked, Scores
from setsail.evaluate.search_metrics import SEARCH_METRICS, best_first, found_at, order_figures, spearman
from setsail.evaluate.slices import Places, Slices, Told, cut

FIND_COMPARISONS = (("tuned", "base_vectors"), ("tuned", "bm25"), ("tuned", "tfidf_cosine"))
ORDER_COMPARISONS = (("tuned", "bm25"), ("tuned", "base_vectors"), ("tuned", "tfidf_cosine"))
_QUERIES_AT_ONCE = 64
_SHOWN_CHARACTERS = 300


@dataclass(frozen=True)
class Query:
    """A held-out query, the grades of its judged texts by their numbers, and the texts that may be shown to it."""

    row_id: str
    group: str
    text: str
    origin: str
    grades: Mapping[int, float]
    candidates: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Pair:
    """Two held-out texts and how alike they are."""

    row_id: str
    group: str
    texts: tuple[str, str]
    score: float


@dataclass(frozen=True)
class Bill:
    """The core-seconds that each system took to make, and the price of 3,600 of them."""

    making: Mapping[str, float]
    core_hour: float


@dataclass(frozen=True)
class _Compared:
    """Each system's metrics with intervals, and the paired difference of two systems in each."""

    scores: Mapping[str, Mapping[str, Interval]]
    gaps: Callable[[str, str], dict[str, Interval]]
    lead: str


def evaluate_search(
    systems: Mapping[str, Scores],
    queries: Sequence[Query],
    texts: Sequence[str],
    out: Path,
    *,
    plan: Plan,
    bill: Bill,
    contamination: Contamination | None = None,
) -> Evaluation:
    """Every system's orders of the texts scored; writes evaluation.json and predictions.jsonl into `out`.

    The first pair of `plan.comparisons` gives the verdict, and its first system the queries that are shown.
    Raises: DataError without queries; SystemRefusal if the disk is full or may not be written.
    """
    if not queries:
        raise DataError("there is no test query to score", hint="set data.split.test, or give more rows")
    orders, thousand = {}, {}
    for name, scores in systems.items():
        before = time.process_time()
        orders[name] = _orders(scores, queries)
        thousand[name] = (time.process_time() - before) / len(queries) * 1000
    values = {name: _figures(each, queries) for name, each in orders.items()}
    draw = {"groups": [query.group for query in queries], "resamples": plan.resamples, "seed": plan.seed}
    compared = _Compared(
        scores={
            name: {metric: bootstrap(each[metric].tolist(), **draw) for metric in SEARCH_METRICS}
            for name, each in values.items()
        },
        gaps=lambda system, against: {
            metric: difference(values[system][metric].tolist(), values[against][metric].tolist(), **draw)
            for metric in SEARCH_METRICS
        },
        lead=SEARCH_METRICS[0],
    )
    shown = plan.comparisons[0][0] if plan.comparisons else next(iter(systems))
    missed = _missed(orders[shown], queries, texts)[: plan.num_samples]
    costs = _costs(bill, thousand)
    groups = [query.group or query.row_id for query in queries]
    evaluation = _evaluation(compared, groups, plan, costs, bill.core_hour, contamination, missed)
    told = next(((pair for pair in plan.comparisons if set(pair) <= set(systems))), (shown,))
    evaluation = replace(evaluation, slices=_slices(queries, values, told, plan))
    lines = [_line(query, place, orders, texts) for place, query in enumerate(queries)]
    _write(out, evaluation, lines)
    return evaluation


def evaluate_alike(
    systems: Mapping[str, Alike],
    pairs: Sequence[Pair],
    out: Path,
    *,
    plan: Plan,
    bill: Bill,
    contamination: Contamination | None = None,
) -> Evaluation:
    """Every system's order of the pairs held against their scores; writes the same two files.

    Raises: DataError without pairs; SystemRefusal if the disk is full or may not be written.
    """
    if not pairs:
        raise DataError("there is no test pair to score", hint="set data.split.test, or give more rows")
    left, right = ([pair.texts[side] for pair in pairs] for side in (0, 1))
    said, thousand = {}, {}
    for name, alike in systems.items():
        before = time.process_time()
        said[name] = alike(left, right)
        thousand[name] = (time.process_time() - before) / len(pairs) * 1000
    true = np.array([pair.score for pair in pairs])
    groups = [pair.group for pair in pairs]
    weights = list(draw_units(groups, len(pairs), resamples=plan.resamples, seed=plan.seed))
    num_units = len({group or index for index, group in enumerate(groups)})
    drawn = {
        name: np.array([spearman(np.repeat(values, count), np.repeat(true, count)) for count in weights])
        for name, values in said.items()
    }
    whole = {name: spearman(values, true) for name, values in said.items()}
    compared = _Compared(
        scores={name: {"spearman": interval_of(whole[name], drawn[name], num_units)} for name in systems},
        gaps=lambda system, against: {
            "spearman": interval_of(whole[system] - whole[against], drawn[system] - drawn[against], num_units)
        },
        lead="spearman",
    )
    named = [pair.group or pair.row_id for pair in pairs]
    evaluation = _evaluation(compared, named, plan, _costs(bill, thousand), bill.core_hour, contamination, ())
    lines = [
        {
            "row_id": pair.row_id,
            "group": pair.group,
            "texts": pair.texts,
            "score": pair.score,
            "systems": {name: {"score": float(values[place])} for name, values in said.items()},
        }
        for place, pair in enumerate(pairs)
    ]
    _write(out, evaluation, lines)
    return evaluation


def _slices(
    queries: Sequence[Query], values: Mapping[str, Mapping[str, NDArray[np.float64]]], told: Sequence[str], plan: Plan
) -> Slices:
    metric = SEARCH_METRICS[0]

    def measure(places: Places) -> dict[str, Interval]:
        groups = [queries[place].group for place in places]
        drawn = {"groups": groups, "resamples": plan.resamples, "seed": plan.seed}
        return {name: bootstrap(values[name][metric][places].tolist(), **drawn) for name in told}

    return cut([Told(query.text, query.origin) for query in queries], metric, measure)


def _orders(scores: Scores, queries: Sequence[Query]) -> list[list[int]]:
    """For each query the numbers of its texts, the best first."""
    orders: list[list[int]] = []
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        part = queries[start : start + _QUERIES_AT_ONCE]
        found = scores([Asked(query.text, query.candidates) for query in part])
        for query, values in zip(part, found, strict=True):
            best = best_first(values)
            orders.append((best if query.candidates is None else query.candidates[best]).tolist())
    return orders


def _figures(orders: Sequence[Sequence[int]], queries: Sequence[Query]) -> dict[str, NDArray[np.float64]]:
    figures = [order_figures(order, query.grades) for order, query in zip(orders, queries, strict=True)]
    return {metric: np.array([each[metric] for each in figures]) for metric in SEARCH_METRICS}


def _costs(bill: Bill, thousand: Mapping[str, float]) -> dict[str, Cost]:
    return {name: Cost(bill.making[name], seconds) for name, seconds in thousand.items()}


def _evaluation(
    compared: _Compared,
    groups: Sequence[str],
    plan: Plan,
    costs: Mapping[str, Cost],
    core_hour: float,
    contamination: Contamination | None,
    missed: tuple[Missed, ...],
) -> Evaluation:
    pairs = [pair for pair in plan.comparisons if set(pair) <= set(compared.scores)]
    comparisons = tuple(_compare(compared, pair) for pair in pairs)
    ladder = climb(
        compared.lead,
        {name: each[compared.lead].value for name, each in compared.scores.items()},
        costs,
        lambda system, against: compared.gaps(system, against)[compared.lead],
        core_hour=core_hour,
    )
    return Evaluation(
        format=result.FORMAT,
        num_rows=len(groups),
        num_groups=len(set(groups)),
        resamples=plan.resamples,
        seed=plan.seed,
        contamination=contamination,
        systems={name: SystemScores(metrics, None) for name, metrics in compared.scores.items()},
        comparisons=comparisons,
        decision=comparisons[0].decision if comparisons else "not_shown",
        verdict=verdict.sentence(comparisons[0]) if comparisons else "Nothing was compared.",
        samples_how="",
        samples=(),
        ladder=ladder,
        missed=missed,
    )


def _compare(compared: _Compared, pair: tuple[str, str]) -> verdict.Comparison:
    system, against = pair
    better: dict[str, Direction] = {metric.name: metric.better for metric in METRICS}
    values = [compared.scores[name] for name in pair]
    differences = {
        name: verdict.Difference(values[0][name].value, values[1][name].value, gap, decide(gap, better[name]))
        for name, gap in compared.gaps(system, against).items()
    }
    return verdict.compare(system, against, differences)


def _missed(orders: Sequence[Sequence[int]], queries: Sequence[Query], texts: Sequence[str]) -> tuple[Missed, ...]:
    """Queries whose first text is a wrong one, those first whose right text comes last."""
    found = []
    for query, order in zip(queries, orders, strict=True):
        rank = found_at(order, query.grades)
        if rank != 1:
            wanted = max(query.grades, key=lambda text: (query.grades[text], -text))
            asked, right, first = (text[:_SHOWN_CHARACTERS] for text in (query.text, texts[wanted], texts[order[0]]))
            found.append(Missed(query.row_id, asked, right, first, rank))
    return tuple(sorted(found, key=lambda missed: (-(missed.rank or 1_000_000), missed.row_id)))


def _line(query: Query, place: int, orders: Mapping[str, Sequence[Sequence[int]]], texts: Sequence[str]) -> object:
    """A query with the rank of its text in each system's order, and the text that stands first there."""
    systems = {
        name: {"rank": found_at(order[place], query.grades), "first": texts[order[place][0]][:_SHOWN_CHARACTERS]}
        for name, order in orders.items()
    }
    return {"row_id": query.row_id, "group": query.group, "query": query.text, "systems": systems}


def _write(out: Path, evaluation: Evaluation, lines: Sequence[object]) -> None:
    with explained_os_errors("writing the evaluation"):
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (out / prediction.FILE).write_text(text, encoding="utf-8")
        result.write_evaluation(out / result.FILE, evaluation)
