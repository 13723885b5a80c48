"""Whether probabilities can be trusted: calibration, and how well they rank; of the rows and of every resample at once.

Legend: N rows, C classes, R resamples, B bins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NUM_BINS = 15
_DRAWS_AT_ONCE = 100


def calibration_error(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Expected calibration error [R] of the likeliest class: |share that is right − probability|, bin by bin.

    `weights` [R, N] says how often each row counts. Bins are of equal width.
    Source: Guo et al. 2017, On Calibration of Modern Neural Networks (arXiv 1706.04599), equation 3, 15 bins.
    """
    best_N = probabilities.max(axis=1)
    bin_N = _bins(best_N)
    gap_NB = np.zeros((len(labels), NUM_BINS))
    gap_NB[np.arange(len(labels)), bin_N] = (probabilities.argmax(axis=1) == labels) - best_N
    return np.abs(weights @ gap_NB).sum(axis=1) / weights.sum(axis=1)


@dataclass(frozen=True)
class Bin:
    """Rows whose likeliest class has about this probability: how many, its mean, and the share that is right."""

    num_rows: int
    probability: float
    accuracy: float


def reliability(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> tuple[Bin, ...]:
    """The bins of the calibration error that hold a row, from the least sure to the surest."""
    best_N, said_N = probabilities.max(axis=1), probabilities.argmax(axis=1)
    bin_N = _bins(best_N)
    places = (np.flatnonzero(bin_N == number) for number in range(NUM_BINS))
    return tuple(
        Bin(len(rows), float(best_N[rows].mean()), float((said_N[rows] == labels[rows]).mean()))
        for rows in places
        if len(rows)
    )


def _bins(best_N: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.minimum((best_N * NUM_BINS).astype(np.int64), NUM_BINS - 1)


def ranking(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The area under the ROC curve [R], of each class against the rest, in the mean over classes.

    Equal probabilities count half. A class that has no row, or no row beside it, in a draw is left out of its mean; a
    draw without any class to rank is 0.5.
    """
    return ranking_of(labels[:, None] == np.arange(probabilities.shape[1]), probabilities, weights)


def ranking_of(
    has_label: NDArray[np.bool_], probabilities: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """As `ranking`, where a row may have several labels or none: `has_label` and `probabilities` [N, C]."""
    num_draws = len(weights)
    totals, counts = np.zeros(num_draws), np.zeros(num_draws)
    for label in range(probabilities.shape[1]):
        order_N = np.argsort(probabilities[:, label], kind="stable")
        scores_N, is_label_N = probabilities[order_N, label], has_label[order_N, label]
        if not is_label_N.any() or is_label_N.all():
            continue
        starts = np.flatnonzero(np.concatenate([[True], scores_N[1:] != scores_N[:-1]]))
        for first in range(0, num_draws, _DRAWS_AT_ONCE):
            part = slice(first, first + _DRAWS_AT_ONCE)
            ordered_RN = weights[part][:, order_N]
            of_label = np.add.reduceat(ordered_RN * is_label_N, starts, axis=1)
            of_others = np.add.reduceat(ordered_RN * ~is_label_N, starts, axis=1)
            below = np.cumsum(of_others, axis=1) - of_others
            pairs_R = of_label.sum(axis=1) * of_others.sum(axis=1)
            won_R = (of_label * (below + of_others / 2)).sum(axis=1)
            there = pairs_R > 0
            totals[part][there] += won_R[there] / pairs_R[there]
            counts[part] += there
    return np.divide(totals, counts, out=np.full(num_draws, 0.5), where=counts > 0)
