"""Bootstrap percentile intervals of a mean or a ratio, of a paired difference, and what a difference decides.

The unit that is drawn is the group (all test rows about one function, one customer, …), because rows of a group are
alike and counting them as independent would make every interval too narrow. A row without a group is its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from setsail.evaluate.metrics import Direction

Decision = Literal["better", "not_shown", "worse"]

LEVEL = 0.95
# Percentile intervals of fewer draws are too narrow to decide anything (one row gives an interval of width 0).
MIN_UNITS = 10
_DRAWS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval, and from how many independent units (groups) it was drawn."""

    value: float
    low: float
    high: float
    num_units: int


def bootstrap(
    values: Sequence[float],
    *,
    weights: Sequence[float] | None = None,
    groups: Sequence[str] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """sum(values) / sum(weights) with its percentile interval; without weights, the mean.

    A ratio such as bits per byte is recomputed in each resample: `values` are bits, `weights` bytes. Groups with the
    same name are drawn together; "" stands for itself. Equal `groups` and `seed` draw equal resamples.
    """
    tops = np.asarray(values, dtype=np.float64)
    bottoms = np.ones_like(tops) if weights is None else np.asarray(weights, dtype=np.float64)
    if tops.size == 0 or tops.shape != bottoms.shape:
        raise ValueError(f"an interval needs as many weights as values and at least one, got {tops.size}")
    unit_of_row = units_of(groups, tops.size)
    tops, bottoms = (np.bincount(unit_of_row, part).astype(np.float64) for part in (tops, bottoms))
    draws = _draw(tops, bottoms, resamples, seed)
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(tops.sum() / bottoms.sum()), float(low), float(high), tops.size)


def difference(
    system: Sequence[float],
    against: Sequence[float],
    *,
    weights: Sequence[float] | None = None,
    groups: Sequence[str] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """system − against, paired row by row, with its interval: what both find hard cancels out."""
    paired = [left - right for left, right in zip(system, against, strict=True)]
    return bootstrap(paired, weights=weights, groups=groups, resamples=resamples, seed=seed)


def decide(gap: Interval, better: Direction) -> Decision:
    """Whether a difference is shown: its whole interval lies on one side of zero, from enough independent units.

    >>> decide(Interval(4.0, 2.5, 5.5, num_units=40), "higher")
    'better'
    """
    if gap.num_units < MIN_UNITS or better == "neither":
        return "not_shown"
    low, high = (gap.low, gap.high) if better == "higher" else (-gap.high, -gap.low)
    if low > 0:
        return "better"
    return "worse" if high < 0 else "not_shown"


def units_of(groups: Sequence[str] | None, num_rows: int) -> NDArray[np.int64]:
    """The unit of each row, numbered by first appearance."""
    if groups is None:
        return np.arange(num_rows)
    if len(groups) != num_rows:
        raise ValueError(f"{len(groups)} groups for {num_rows} rows")
    numbers: dict[object, int] = {}
    keys = [group or index for index, group in enumerate(groups)]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def draw_units(
    groups: Sequence[str] | None, num_rows: int, *, resamples: int, seed: int
) -> Iterator[NDArray[np.int64]]:
    """For each resample how often each row is drawn, groups whole; for figures that are no mean of values of rows.

    Equal `groups` and `seed` draw equal resamples, so that two systems can be compared draw by draw.
    """
    unit_of_row = units_of(groups, num_rows)
    num_units = int(unit_of_row.max()) + 1
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.bincount(rng.integers(0, num_units, size=num_units), minlength=num_units)[unit_of_row]


def interval_of(value: float, draws: NDArray[np.float64], num_units: int) -> Interval:
    """A value with the percentile interval of its draws."""
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high), num_units)


def _draw(tops: NDArray[np.float64], bottoms: NDArray[np.float64], resamples: int, seed: int) -> NDArray[np.float64]:
    """The ratio in each resample; drawn in slices so that memory stays bounded however many rows there are."""
    rng = np.random.default_rng(seed)
    step = max(1, _DRAWS_AT_ONCE // tops.size)
    slices = []
    for start in range(0, resamples, step):
        picks = rng.integers(0, tops.size, size=(min(step, resamples - start), tops.size))
        slices.append(tops[picks].sum(axis=1) / bottoms[picks].sum(axis=1))
    return np.concatenate(slices)
