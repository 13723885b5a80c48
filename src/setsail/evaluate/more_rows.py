"""How many more labelled rows would help: a cheap model learned from nested parts of the training rows, and a forecast.

The error of a model falls about as a power of the number of rows it learned from (Hestness et al. 2017, arXiv
1712.00409); the line through the logarithms, drawn on for twice the rows, is the forecast. What does not live here: the
model that learns (`class_baselines.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from setsail.base.page.words import Language
from setsail.evaluate import numbers
from setsail.evaluate.interval import Interval, draw_units, interval_of
from setsail.evaluate.verdict import spaced

SHARES = (0.125, 0.25, 0.5, 1.0)  # of the training rows
LEAST_ROWS = 8  # of a part


@dataclass(frozen=True)
class Learned:
    """The accuracy of the model that learned from so many rows."""

    num_rows: int
    accuracy: Interval


@dataclass(frozen=True)
class MoreRows:
    """What each part of the rows came to, the smallest first, and what twice the rows would, with an interval."""

    points: tuple[Learned, ...]
    doubled: Interval


def more_rows(
    sizes: Sequence[int], right: NDArray[np.float64], groups: Sequence[str], *, resamples: int, seed: int
) -> MoreRows:
    """The curve and its forecast from which test rows are right, [P, N] for each of the P `sizes` (two at least)."""
    num_rows = right.shape[1]
    draws = draw_units(groups, num_rows, resamples=resamples, seed=seed)
    weights_RN = np.stack([np.ones(num_rows), *draws]).astype(np.float64)
    accuracy_RP = weights_RN @ right.T / weights_RN.sum(axis=1, keepdims=True)
    num_units = len({group or index for index, group in enumerate(groups)})
    points = tuple(
        Learned(size, interval_of(float(values[0]), values[1:], num_units))
        for size, values in zip(sizes, accuracy_RP.T, strict=True)
    )
    forecast_R = _forecast(np.array(sizes, dtype=np.float64), accuracy_RP, least=0.5 / num_rows)
    return MoreRows(points, interval_of(float(forecast_R[0]), forecast_R[1:], num_units))


def _forecast(sizes_P: NDArray[np.float64], accuracy_RP: NDArray[np.float64], *, least: float) -> NDArray[np.float64]:
    """The accuracy [R] at twice the largest size; more rows are never forecast to harm. No error counts as `least`."""
    errors_RP = np.log(np.maximum(1.0 - accuracy_RP, least))
    logs_P = np.log(sizes_P) - np.log(sizes_P).mean()
    slopes_R = np.minimum(0.0, (errors_RP * logs_P).sum(axis=1) / (logs_P**2).sum())
    last_R = errors_RP.mean(axis=1) + slopes_R * logs_P[-1]
    return 1.0 - np.exp(np.minimum(0.0, last_R + slopes_R * np.log(2.0)))


def sentence(found: MoreRows, language: Language = "en") -> str:
    """What the curve says, in words."""
    last = found.points[-1]
    values = {
        "rows": numbers.count(last.num_rows),
        "now": numbers.metric_value("accuracy", last.accuracy.value),
        "doubled": numbers.metric_value("accuracy", found.doubled.value),
        "interval": numbers.metric_interval("accuracy", found.doubled),
    }
    if language == "zh":
        text = "TF-IDF 用 {rows} 行训练得到准确率 {now}；行数加倍，预计为 {doubled}（95 % 区间 {interval}）。"
        return spaced(text.format(**values))
    text = "TF-IDF has {now} accuracy from {rows} rows; with twice as many it should have {doubled} (95 % interval "
    return (text + "{interval}).").format(**values)
