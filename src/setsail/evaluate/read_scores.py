"""The evaluation of what is said of texts, other than one label: every system on the same frozen test, and two files.

The result is the `Evaluation` of every task; predictions.jsonl has a line for each test row. Not here: the figures
(`judges.py`), one label for a text (`classify.py`), and what may be said about a difference (`verdict.py`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from setsail.base.errors import DataError
from setsail.base.files import explained_os_errors
from setsail.data.row import Row, contents
from setsail.evaluate import evaluation as result
from setsail.evaluate import prediction, verdict
from setsail.evaluate.class_scores import ClassReport, Counts, Mistake, kind_scores
from setsail.evaluate.contamination import Contamination
from setsail.evaluate.evaluation import Evaluation, SystemScores
from setsail.evaluate.interval import Interval, decide, draw_units, interval_of
from setsail.evaluate.judges import JUDGES, Floats, Judge, Said
from setsail.evaluate.ladder import Cost, Ladder, climb
from setsail.evaluate.metrics import METRICS, Direction
from setsail.evaluate.read_baselines import Say
from setsail.evaluate.score import Plan
from setsail.evaluate.slices import Places, Slices, cut, of_rows

_SHOWN_CHARACTERS = 300


def evaluate_said(
    task: str,
    systems: Mapping[str, Say],
    rows: Sequence[Row],
    out: Path,
    *,
    plan: Plan,
    making: Mapping[str, float],
    core_hour: float,
    contamination: Contamination | None = None,
) -> Evaluation:
    """Every system scored on the rows; writes evaluation.json and predictions.jsonl into `out`.

    The first of `systems` is the one that is compared with each of the others. `making` are the core-seconds that each
    took to make, `core_hour` is the price of 3,600 of them.
    Raises: DataError without rows; SystemRefusal if the disk is full or may not be written.
    """
    if not rows:
        raise DataError("there is no test row to score", hint="set data.split.test, or give more rows")
    judge = JUDGES[task]
    said, thousand = {}, {}
    for name, say in systems.items():
        before = time.process_time()
        said[name] = say(rows)
        thousand[name] = (time.process_time() - before) / len(rows) * 1000
    groups = [row.group for row in rows]
    draws = draw_units(groups, len(rows), resamples=plan.resamples, seed=plan.seed)
    weights_RN = np.stack([np.ones(len(rows)), *draws]).astype(np.float64)
    measured = {name: judge.metrics(rows, each, weights_RN) for name, each in said.items()}
    num_units = len({group or index for index, group in enumerate(groups)})
    costs = {name: Cost(making[name], thousand[name]) for name in systems}
    first, *others = systems
    comparisons = tuple(_compare(measured, (first, other), num_units) for other in others)
    evaluation = Evaluation(
        format=result.FORMAT,
        num_rows=len(rows),
        num_groups=num_units,
        resamples=plan.resamples,
        seed=plan.seed,
        contamination=contamination,
        systems={name: SystemScores(_intervals(each, num_units), None) for name, each in measured.items()},
        comparisons=comparisons,
        decision=comparisons[0].decision if comparisons else "not_shown",
        verdict=verdict.sentence(comparisons[0]) if comparisons else "Nothing was compared.",
        samples_how="",
        samples=(),
        classes=_report(judge, rows, said[first], weights_RN, first, plan.num_samples),
        ladder=_ladder(judge, measured, costs, num_units, core_hour),
        slices=_slices(judge, rows, {name: said[name] for name in (first, *others[:1])}, plan),
    )
    with explained_os_errors("writing the evaluation"):
        _write_predictions(out / prediction.FILE, judge, rows, said)
        result.write_evaluation(out / result.FILE, evaluation)
    return evaluation


def _intervals(metrics: Mapping[str, Floats], num_units: int) -> dict[str, Interval]:
    return {name: interval_of(float(values[0]), values[1:], num_units) for name, values in metrics.items()}


def _compare(measured: Mapping[str, Mapping[str, Floats]], pair: tuple[str, str], num_units: int) -> verdict.Comparison:
    """Each metric of two systems, paired draw by draw."""
    system, against = (measured[name] for name in pair)
    better: dict[str, Direction] = {metric.name: metric.better for metric in METRICS}
    differences = {}
    for name in system.keys() & against.keys():
        gap = _gap(system[name], against[name], num_units)
        values = float(system[name][0]), float(against[name][0])
        differences[name] = verdict.Difference(*values, gap, decide(gap, better[name]))
    ordered = {metric.name: differences[metric.name] for metric in METRICS if metric.name in differences}
    return verdict.compare(*pair, ordered)


def _gap(system: Floats, against: Floats, num_units: int) -> Interval:
    return interval_of(float(system[0] - against[0]), system[1:] - against[1:], num_units)


def _ladder(
    judge: Judge,
    measured: Mapping[str, Mapping[str, Floats]],
    costs: Mapping[str, Cost],
    num_units: int,
    core_hour: float,
) -> Ladder:
    leads = {name: each[judge.lead] for name, each in measured.items()}
    return climb(
        judge.lead,
        {name: float(values[0]) for name, values in leads.items()},
        costs,
        lambda system, against: _gap(leads[system], leads[against], num_units),
        core_hour=core_hour,
    )


def _slices(judge: Judge, rows: Sequence[Row], said: Mapping[str, Sequence[Said]], plan: Plan) -> Slices:
    def measure(places: Places) -> dict[str, Interval]:
        some = [rows[place] for place in places]
        groups = [row.group for row in some]
        draws = draw_units(groups, len(some), resamples=plan.resamples, seed=plan.seed)
        weights_RN = np.stack([np.ones(len(some)), *draws]).astype(np.float64)
        num_units = len({group or index for index, group in enumerate(groups)})
        return {
            name: _intervals(judge.metrics(some, [each[place] for place in places], weights_RN), num_units)[judge.lead]
            for name, each in said.items()
        }

    return cut(of_rows(rows), judge.lead, measure)


def _report(
    judge: Judge, rows: Sequence[Row], said: Sequence[Said], weights_RN: Floats, system: str, num_mistakes: int
) -> ClassReport:
    """Each kind's figures, and the rows of which the worst was said."""
    kinds: tuple[str, ...] = ()
    scores = ()
    if judge.kinds is not None:
        kinds, counts = judge.kinds(rows, said)
        drawn = Counts(*(weights_RN @ getattr(counts, name) for name in ("right", "said", "true")))
        scores = kind_scores(drawn, kinds)
    right = judge.right(rows, said)
    worst = [place for place in np.argsort(right, kind="stable") if right[place] < 1.0][:num_mistakes]
    mistakes = tuple(_mistake(judge, rows[place], said[place]) for place in worst)
    return ClassReport(system, kinds, scores, (), (), (), mistakes)


def _mistake(judge: Judge, row: Row, said: Said) -> Mistake:
    text = " ⏎ ".join(contents(row))[:_SHOWN_CHARACTERS]
    return Mistake(row.id, text, judge.shown(row, None), judge.shown(row, said), said.get("probability"))


def _write_predictions(path: Path, judge: Judge, rows: Sequence[Row], said: Mapping[str, Sequence[Said]]) -> None:
    """One JSON line per row: what was read, what is true, and what each system said, as `predict` prints it."""
    with path.open("w", encoding="utf-8") as lines:
        for place, row in enumerate(rows):
            answers = {name: each[place] for name, each in said.items()}
            true = {"target": json.loads(row.target), "shown": judge.shown(row, None)}
            record = {"row_id": row.id, "group": row.group, "texts": contents(row), **true, "systems": answers}
            lines.write(json.dumps(record, ensure_ascii=False) + "\n")
