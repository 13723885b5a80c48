"""How well labels are told apart: counts, precision, recall and F1 with intervals, confusions, mistakes to read.

Rows are paired between systems and drawn again in whole groups, as everywhere in this room. A class that is neither
said nor true in a draw does not enter the mean over classes; a ratio of nothing is 0, as in scikit-learn.

Legend: N rows, C classes, R resamples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from setsail.evaluate.doubts import Doubts
from setsail.evaluate.interval import Interval, bootstrap, draw_units, interval_of
from setsail.evaluate.probabilities import Bin, calibration_error, ranking

_TRUST = {"auroc": ranking, "ece": calibration_error}
MOST_CONFUSIONS = 20
MOST_IN_MATRIX = 50  # labels; with more, the matrix is left out


@dataclass(frozen=True)
class Truth:
    """The test: the index of each row's label, its group, and how intervals are drawn.

    `nothing` are the classes that say that there is nothing to say.
    """

    labels: NDArray[np.int64]  # [N]
    groups: tuple[str, ...]
    num_classes: int
    resamples: int
    seed: int
    nothing: tuple[int, ...] = ()


@dataclass(frozen=True)
class Counts:
    """For each class how many rows are right, are said to be of it, and are of it; [..., C]."""

    right: NDArray[np.float64]
    said: NDArray[np.float64]
    true: NDArray[np.float64]

    @property
    def precision(self) -> NDArray[np.float64]:
        return _ratio(self.right, self.said)

    @property
    def recall(self) -> NDArray[np.float64]:
        return _ratio(self.right, self.true)

    @property
    def f1(self) -> NDArray[np.float64]:
        return _ratio(2 * self.right, self.said + self.true)

    def macro(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The mean over the classes that are said or true."""
        there = (self.said + self.true) > 0
        return (values * there).sum(axis=-1) / there.sum(axis=-1)


@dataclass(frozen=True)
class Measured:
    """One system's counts on the test and in every resample, and its values row by row."""

    counts: Counts  # [C]
    draws: Counts  # [R, C]
    right: NDArray[np.float64]  # [N], 1 where the label is right
    nats: NDArray[np.float64]  # [N], of the true label
    trust: Mapping[str, NDArray[np.float64]]  # [1 + R], of all rows and then of every draw


@dataclass(frozen=True)
class ClassScore:
    """One label: its test rows, and the system's figures on it, 0 to 1."""

    label: str
    num_rows: int
    precision: Interval
    recall: Interval
    f1: Interval


@dataclass(frozen=True)
class Confusion:
    """How many rows of one label were said to be another."""

    label: str
    said: str
    num_rows: int


@dataclass(frozen=True)
class Paired:
    """Rows that one of two systems alone has right, and McNemar's exact p-value that neither has more of them."""

    system: str
    against: str
    only_system: int
    only_against: int
    p_value: float


@dataclass(frozen=True)
class Mistake:
    """A test row of which something wrong was said, and how sure the system was, where it says so."""

    row_id: str
    text: str
    label: str
    said: str
    probability: float | None


@dataclass(frozen=True)
class ClassReport:
    """What is known of one system label by label; `matrix[i][j]` counts rows of label i that were said to be j.

    The matrix is empty where there are more than 50 labels, or a text may have several. Where no labels are told, the
    mistakes alone are here. `reliability` is how often the system is right when it is so sure; `doubts` are training
    rows whose label may be wrong.
    """

    system: str
    labels: tuple[str, ...]
    scores: tuple[ClassScore, ...]
    matrix: tuple[tuple[int, ...], ...]
    confusions: tuple[Confusion, ...]
    paired: tuple[Paired, ...]
    mistakes: tuple[Mistake, ...]
    reliability: tuple[Bin, ...] = ()
    doubts: Doubts | None = None


def measure(truth: Truth, probabilities: NDArray[np.float64]) -> Measured:
    """A system's figures from its probabilities [N, C]; ties go to the first class."""
    said = probabilities.argmax(axis=1)
    least = np.finfo(np.float64).tiny  # a probability that was rounded to nothing costs much, not infinitely much
    nats = -np.log(np.maximum(probabilities[np.arange(len(said)), truth.labels], least))
    draws = draw_units(truth.groups, len(said), resamples=truth.resamples, seed=truth.seed)
    weights_RN = np.stack([np.ones(len(said)), *draws]).astype(np.float64)
    counted = [_count(truth, said, weights) for weights in weights_RN[1:]]
    trust = {name: of(truth.labels, probabilities, weights_RN) for name, of in _TRUST.items()}
    whole = _count(truth, said, weights_RN[0])
    if truth.nothing:
        trust["micro_f1"] = np.array([_found(truth, each) for each in (whole, *counted)])
    stacked = Counts(*(np.stack([getattr(each, name) for each in counted]) for name in ("right", "said", "true")))
    right = (said == truth.labels).astype(np.float64)
    return Measured(whole, stacked, right, nats, trust)


def _found(truth: Truth, counts: Counts) -> float:
    """F1 over all rows of what there is to say: the classes that say nothing are neither hits nor true.

    Source: Zhang et al. 2017, TACRED, section 5.1: micro-averaged over the relations, without "no relation".
    """
    right, said, true = (
        np.delete(values, truth.nothing).sum(keepdims=True) for values in (counts.right, counts.said, counts.true)
    )
    return float(Counts(right, said, true).f1[0])


def intervals(truth: Truth, measured: Measured) -> dict[str, Interval]:
    """The metrics of one system, by their names in `METRICS`."""
    whole, draws = measured.counts, measured.draws
    accuracy = _mean(truth, measured.right)
    found = {
        f"macro_{name}": interval_of(
            float(whole.macro(getattr(whole, name))), draws.macro(getattr(draws, name)), accuracy.num_units
        )
        for name in ("f1", "precision", "recall")
    }
    for name, values in measured.trust.items():
        found[name] = interval_of(float(values[0]), values[1:], accuracy.num_units)
    return {**found, "accuracy": accuracy, "nats_per_row": _mean(truth, measured.nats)}


def gaps(truth: Truth, system: Measured, against: Measured) -> dict[str, Interval]:
    """system − against in each metric, paired row by row and draw by draw."""
    accuracy = _mean(truth, system.right - against.right)
    found = {"accuracy": accuracy, "nats_per_row": _mean(truth, system.nats - against.nats)}
    for name in ("f1", "precision", "recall"):
        values = [
            (float(each.counts.macro(getattr(each.counts, name))), each.draws.macro(getattr(each.draws, name)))
            for each in (system, against)
        ]
        found[f"macro_{name}"] = interval_of(
            values[0][0] - values[1][0], values[0][1] - values[1][1], accuracy.num_units
        )
    for name, values in system.trust.items():
        differences = values - against.trust[name]
        found[name] = interval_of(float(differences[0]), differences[1:], accuracy.num_units)
    return found


def class_scores(truth: Truth, measured: Measured, labels: Sequence[str]) -> tuple[ClassScore, ...]:
    """Each label's own figures; in a draw without any row of it a figure is 0."""
    parts = ((getattr(measured.counts, name), getattr(measured.draws, name)) for name in ("right", "said", "true"))
    return kind_scores(Counts(*(np.concatenate([whole[None], draws]) for whole, draws in parts)), labels)


def kind_scores(drawn: Counts, kinds: Sequence[str]) -> tuple[ClassScore, ...]:
    """Each kind's figures from counts [1 + R, C], of all rows and then of every draw."""
    num_true = drawn.true[0].astype(int)
    columns = {name: getattr(drawn, name) for name in ("precision", "recall", "f1")}
    return tuple(
        ClassScore(
            kind,
            int(num_true[index]),
            **{
                name: interval_of(float(values[0, index]), values[1:, index], int(num_true[index]))
                for name, values in columns.items()
            },
        )
        for index, kind in enumerate(kinds)
    )


def confusion_matrix(truth: Truth, said: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of class i that were said to be of class j, [C, C]."""
    places = truth.labels * truth.num_classes + said
    return np.bincount(places, minlength=truth.num_classes**2).reshape(truth.num_classes, truth.num_classes)


def confusions(matrix: NDArray[np.int64], labels: Sequence[str]) -> tuple[Confusion, ...]:
    """The most frequent mistakes, most first."""
    off = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-off, axis=None, kind="stable")[:MOST_CONFUSIONS]
    pairs = [divmod(int(place), len(labels)) for place in order]
    return tuple(Confusion(labels[i], labels[j], int(off[i, j])) for i, j in pairs if off[i, j])


def mcnemar(names: tuple[str, str], system: Measured, against: Measured) -> Paired:
    """McNemar's exact test on the rows that one of the two alone has right.

    Source: McNemar 1947; the two-sided binomial form.
    """
    only_system = int(((system.right == 1) & (against.right == 0)).sum())
    only_against = int(((system.right == 0) & (against.right == 1)).sum())
    differing = only_system + only_against
    p_value = float(binomtest(only_system, differing).pvalue) if differing else 1.0
    return Paired(*names, only_system, only_against, p_value)


def by_system(truth: Truth, probabilities: Mapping[str, NDArray[np.float64]]) -> dict[str, Measured]:
    """Every system measured on the same rows and the same draws."""
    return {name: measure(truth, values) for name, values in probabilities.items()}


def _mean(truth: Truth, values: NDArray[np.float64]) -> Interval:
    return bootstrap(values.tolist(), groups=truth.groups, resamples=truth.resamples, seed=truth.seed)


def _count(truth: Truth, said: NDArray[np.int64], weights: NDArray[np.float64]) -> Counts:
    is_right = said == truth.labels

    def summed(classes: NDArray[np.int64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(classes, weights, minlength=truth.num_classes).astype(np.float64)

    return Counts(
        right=summed(said[is_right], weights[is_right]),
        said=summed(said, weights),
        true=summed(truth.labels, weights),
    )


def _ratio(top: NDArray[np.float64], bottom: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)
