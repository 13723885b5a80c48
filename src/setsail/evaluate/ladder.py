"""The ladder: what each way of answering costs beside how good it is, and on which rung one may stop.

Every way is scored on the same test; the rung to stop on is the cheapest that is not shown to be worse than the best.
What does not live here: the ways themselves (`class_baselines.py`), and what intervals are (`interval.py`).

Units: seconds are those of one core.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from setsail.base.page.words import Language
from setsail.evaluate import numbers
from setsail.evaluate.interval import MIN_UNITS, Interval
from setsail.evaluate.verdict import METRIC_NAMES, spaced, system_name

_LEAST_SECONDS = 0.01  # what costs less is said to cost this


@dataclass(frozen=True)
class Cost:
    """Core-seconds of making a system from the training rows, and of a thousand answers."""

    making: float
    thousand: float


@dataclass(frozen=True)
class Rung:
    """One system: its cost, its lead over the best one (none is greater than 0), and whether that could be nothing."""

    system: str
    cost: Cost
    gap: Interval
    is_enough: bool


@dataclass(frozen=True)
class Ladder:
    """All rungs, the cheapest first; the best by `metric`, and the one to stop on, "" where too few rows can tell."""

    metric: str
    best: str
    stop: str
    core_hour: float
    rungs: tuple[Rung, ...]

    def rung(self, system: str) -> Rung:
        """The rung of that system."""
        return next(rung for rung in self.rungs if rung.system == system)

    def money(self, rung: Rung) -> float:
        """What making it costs, in the currency of `core_hour`."""
        return rung.cost.making / 3600 * self.core_hour


def climb(
    metric: str,
    values: Mapping[str, float],
    costs: Mapping[str, Cost],
    gap: Callable[[str, str], Interval],
    *,
    core_hour: float,
) -> Ladder:
    """The ladder of these systems by a metric of which more is better; `gap(a, b)` is a − b, paired."""
    best = max(values, key=lambda name: (values[name], -costs[name].making))
    rungs = []
    for name in sorted(values, key=lambda name: (costs[name].making, name)):
        to_best = gap(name, best)
        rungs.append(Rung(name, costs[name], to_best, name == best or to_best.high >= 0))
    can_tell = rungs[0].gap.num_units >= MIN_UNITS
    stop = next(rung.system for rung in rungs if rung.is_enough) if can_tell else ""
    return Ladder(metric, best, stop, core_hour, tuple(rungs))


_SENTENCES: Mapping[str, tuple[str, str]] = {
    "few": (
        "Where to stop on the ladder cannot be told: only {num} independent test rows.",
        "无法判断该停在哪一级：只有 {num} 个独立的测试样本。",
    ),
    "worth": (
        "Each cheaper way is shown to be worse than {best}: it is worth what it costs.",
        "更便宜的方法都被证明不如{best}：它物有所值。",
    ),
    "stop": (
        "Stop at {stop}: in {metric} it is not shown to be worse than {best} ({gap}, 95 % interval {interval}), at "
        "1/{ratio} of the cost.",
        "可以停在{stop}：未能证明其 {metric} 不如{best}（{gap}，95 % 区间 {interval}），成本仅为 1/{ratio}。",
    ),
    "dearer": (
        "{best} is the best and the cheapest.",
        "{best}既最好也最便宜。",
    ),
}


def sentence(ladder: Ladder, language: Language = "en") -> str:
    """Where to stop, in words."""
    chinese = language == "zh"
    stop = ladder.rung(ladder.stop or ladder.best)
    case = "few" if not ladder.stop else "stop"
    if ladder.stop == ladder.best:
        case = "dearer" if ladder.rungs[0].system == ladder.best else "worth"
    making = [max(_LEAST_SECONDS, rung.cost.making) for rung in (ladder.rung(ladder.best), stop)]
    text = _SENTENCES[case][chinese].format(
        num=stop.gap.num_units,
        best=system_name(ladder.best, language),
        stop=system_name(stop.system, language),
        metric=METRIC_NAMES[ladder.metric][chinese],
        gap=numbers.metric_value(ladder.metric, stop.gap.value, signed=True),
        interval=numbers.metric_interval(ladder.metric, stop.gap, signed=True),
        ratio=f"{making[0] / making[1]:,.0f}",
    )
    text = text[0].upper() + text[1:]
    return spaced(text) if chinese else text
