"""The evaluation itself: ask every system, sum up with intervals, compare pairwise, choose samples, write two files.

`summarise` needs only predictions, so any evaluation can be computed again from predictions.jsonl. Not here: how one
row is measured (`metrics.py`), what may be said about a difference (`verdict.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from setsail.base.errors import DataError
from setsail.base.files import explained_os_errors
from setsail.data.row import BEFORE_SPEAKING, Row
from setsail.evaluate import evaluation as result
from setsail.evaluate import metrics, prediction, verdict
from setsail.evaluate.contamination import Contamination
from setsail.evaluate.evaluation import Evaluation, Sample, SampleAnswer, SystemScores
from setsail.evaluate.interval import Interval, bootstrap, decide, difference
from setsail.evaluate.prediction import Prediction
from setsail.evaluate.slices import Places, Slices, Told, cut
from setsail.evaluate.system import System


@dataclass(frozen=True)
class Plan:
    """How an evaluation sums up; the first pair of `comparisons` gives the verdict, its first system the samples.

    `nothing` are labels that say that there is nothing to say.
    """

    comparisons: tuple[tuple[str, str], ...] = (("tuned", "base"), ("tuned", "nearest"))
    num_samples: int = 10
    resamples: int = 2000
    seed: int = 0
    nothing: tuple[str, ...] = ()


def evaluate(
    systems: Mapping[str, System],
    rows: Sequence[Row],
    out: Path,
    *,
    plan: Plan | None = None,
    contamination: Contamination | None = None,
    masked_bytes: Sequence[int] | None = None,
) -> Evaluation:
    """Every system scored on the rows; writes evaluation.json and predictions.jsonl into `out`.

    `masked_bytes` says how many bytes of each row are hidden, where systems are asked to restore them.
    `rows` are what `contamination.take_out` kept. Systems that a comparison names and that are not given are left out.
    Raises: DataError without rows; SystemRefusal if the disk is full or may not be written.
    """
    if not rows:
        raise DataError("there is no test row to score", hint="set data.split.test, or give more rows")
    predictions = prediction.ask(systems, rows, masked_bytes)
    evaluation = summarise(predictions, plan=plan, contamination=contamination)
    with explained_os_errors("writing the evaluation"):
        prediction.write_predictions(out / prediction.FILE, predictions)
        result.write_evaluation(out / result.FILE, evaluation)
    return evaluation


def summarise(
    predictions: Sequence[Prediction], *, plan: Plan | None = None, contamination: Contamination | None = None
) -> Evaluation:
    """The evaluation that follows from predictions alone."""
    plan = plan or Plan()
    names = list(predictions[0].systems)
    pairs = [pair for pair in plan.comparisons if set(pair) <= set(names)]
    comparisons = tuple(_compare(predictions, system, against, plan) for system, against in pairs)
    shown = pairs[0][0] if pairs else names[0]
    samples = choose_samples(predictions, shown, plan.num_samples)
    units = {row.group or row.row_id for row in predictions}
    return Evaluation(
        format=result.FORMAT,
        num_rows=len(predictions),
        num_groups=len(units),
        resamples=plan.resamples,
        seed=plan.seed,
        contamination=contamination,
        systems={name: _scores(predictions, name, plan) for name in names},
        comparisons=comparisons,
        decision=comparisons[0].decision if comparisons else "not_shown",
        verdict=verdict.sentence(comparisons[0]) if comparisons else "Nothing was compared.",
        samples_how=verdict.samples_how(shown, len(samples), len(predictions)),
        samples=samples,
        slices=_slices(predictions, comparisons[0], plan) if comparisons else None,
    )


def _slices(predictions: Sequence[Prediction], first: verdict.Comparison, plan: Plan) -> Slices | None:
    """The leading metric of both systems on each slice of the rows; None where it is not about all of them."""
    if len(prediction.rows_with(predictions, first.lead)) < len(predictions):
        return None

    def measure(places: Places) -> dict[str, Interval]:
        some = [predictions[place] for place in places]
        pair = (first.system, first.against)
        return {name: found for name in pair if (found := _interval(some, name, first.lead, plan)) is not None}

    return cut([Told(text_of(row), row.origin) for row in predictions], first.lead, measure)


def text_of(row: Prediction) -> str:
    """What was asked and what should be said, without what stands before a conversation."""
    asked = [message["content"] for message in row.prompt if message["role"] not in BEFORE_SPEAKING]
    return "\n".join([*asked, row.reference])


def choose_samples(predictions: Sequence[Prediction], system: str, num: int) -> tuple[Sample, ...]:
    """The middle row of each of `num` equal parts of the rows sorted by the system's chrF; none if it has no chrF."""
    values = prediction.series(predictions, system, "chrf")
    if values is None:
        return ()
    order = sorted(range(len(predictions)), key=lambda index: (values[index], predictions[index].row_id))
    num = min(num, len(order))
    middles = [(2 * part + 1) * len(order) // (2 * num) for part in range(num)]
    return tuple(_sample(predictions[order[middle]]) for middle in middles)


def _sample(row: Prediction) -> Sample:
    answers = {
        name: SampleAnswer(scored.answer, scored.values["chrf"], scored.stopped)
        for name, scored in row.systems.items()
        if "chrf" in scored.values
    }
    prompt = tuple({"role": message["role"], "content": message["content"]} for message in row.prompt)
    return Sample(row.row_id, prompt, row.reference, answers)


def _scores(predictions: Sequence[Prediction], system: str, plan: Plan) -> SystemScores:
    intervals = {}
    for metric in metrics.METRICS:
        found = _interval(predictions, system, metric.name, plan)
        if found is not None:
            intervals[metric.name] = found
    if "chrf" not in intervals:
        return SystemScores(intervals, None)
    texts = [row.systems[system].answer for row in predictions]
    return SystemScores(intervals, metrics.corpus_chrf(texts, [row.reference for row in predictions]))


def _interval(predictions: Sequence[Prediction], system: str, metric: str, plan: Plan) -> Interval | None:
    rows = prediction.rows_with(predictions, metric)
    values = prediction.series(rows, system, metric)
    if not values:
        return None
    groups = [row.group for row in rows]
    return bootstrap(values, weights=_weights(rows, metric), groups=groups, resamples=plan.resamples, seed=plan.seed)


def _compare(predictions: Sequence[Prediction], system: str, against: str, plan: Plan) -> verdict.Comparison:
    differences = {}
    for metric in metrics.METRICS:
        rows = prediction.rows_with(predictions, metric.name)
        left, right = (prediction.series(rows, name, metric.name) for name in (system, against))
        if not left or not right:
            continue
        weights = _weights(rows, metric.name)
        gap = difference(
            left,
            right,
            weights=weights,
            groups=[row.group for row in rows],
            resamples=plan.resamples,
            seed=plan.seed,
        )
        total = sum(weights) if weights else len(rows)
        differences[metric.name] = verdict.Difference(
            sum(left) / total, sum(right) / total, gap, decide(gap, metric.better)
        )
    return verdict.compare(system, against, differences)


def _weights(predictions: Sequence[Prediction], metric: str) -> list[float] | None:
    """Bits over bytes is a ratio of sums; every other metric is a mean over rows."""
    return [float(row.num_bytes) for row in predictions] if metric in metrics.NATS else None
