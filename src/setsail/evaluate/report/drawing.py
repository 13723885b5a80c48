"""Small drawings as SVG text, from numbers alone: a dot with its interval, the training curve.

Colours and type come from the page's style sheet through class names, so that dark, light and print agree. Labels are
escaped here; everything else is a number. Not here: which figure is drawn where.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from setsail.base.page.drawing import HEIGHT, WIDTH, small
from setsail.evaluate import numbers
from setsail.evaluate.interval import Interval

_LEFT, _RIGHT, _PANEL_TOP, _PANEL_HEIGHT, _FOOT = 46, 14, 44, 150, 34
_MOST_POINTS = 400


@dataclass(frozen=True)
class Line:
    """A named series of (x, y) points for one panel of a curve; `dots` draws each point, `smooth` a running mean."""

    title: str
    points: tuple[tuple[float, float], ...]
    dots: bool = False
    smooth: int = 1


@dataclass(frozen=True)
class Point:
    """A dot of a plot, with its interval where it has one."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    radius: float = 4.0
    tone: str = ""


def whisker(interval: Interval, low: float, high: float, *, zero: bool = False, tone: str = "") -> str:
    """A dot on its interval, on the scale from `low` to `high`; `zero` marks where nothing differs."""
    span = (high - low) or 1.0

    def place(value: float) -> float:
        return 5 + (value - low) / span * (WIDTH - 10)

    left, right, dot = place(interval.low), place(interval.high), place(interval.value)
    marks = f'<line class="zero" x1="{place(0):.1f}" x2="{place(0):.1f}" y1="0" y2="{HEIGHT}"/>' if zero else ""
    marks += f'<line class="whisker {tone}" x1="{left:.1f}" x2="{right:.1f}" y1="7" y2="7"/>'
    for end in (left, right):
        marks += f'<line class="whisker {tone}" x1="{end:.1f}" x2="{end:.1f}" y1="4" y2="10"/>'
    return small(marks + f'<circle class="dot {tone}" cx="{dot:.1f}" cy="7" r="3.4"/>')


def curve(panels: Sequence[Line], x_title: str) -> str:
    """Panels with a common x axis, drawn twice: for a wide page and, with type that stays legible, for a phone."""
    wide, narrow = _curve(panels, x_title, 700), _curve(panels, x_title, 360)
    return f'<div class="wide">{wide}</div><div class="narrow">{narrow}</div>'


def plot(points: Sequence[Point], x_title: str, y_title: str, *, diagonal: bool = False, log: bool = False) -> str:
    """Dots, each with its interval where it has one; `diagonal` draws where both are equal, `log` spreads small x."""
    width, height = 460, 300
    xs = [math.log(point.x) if log else point.x for point in points]
    ys = [value for point in points for value in (point.y, point.low, point.high) if value is not None]
    low_x, high_x = (0.0, 1.0) if diagonal else (min(xs), max(xs))
    low_y, high_y = (0.0, 1.0) if diagonal else _bounds(ys)
    right, bottom = width - _RIGHT, height - _FOOT

    def at(x: float, y: float) -> tuple[float, float]:
        across = (x - low_x) / ((high_x - low_x) or 1.0) * (right - _LEFT - 20)
        return _LEFT + 10 + across, bottom - (y - low_y) / ((high_y - low_y) or 1.0) * (bottom - _PANEL_TOP)

    body = f'<text class="label" x="0" y="{_PANEL_TOP - 14}">{escape(y_title)}</text>'
    for tick in ticks(low_y, high_y, 5):
        y = at(low_x, tick)[1]
        body += f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
        body += f'<text class="tick" x="{_LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{tick:.4g}</text>'
    for tick in ticks(low_x, high_x, 6) if not log else xs:
        x = at(tick, low_y)[0]
        shown = numbers.count(round(math.exp(tick))) if log else f"{tick:g}"
        body += f'<text class="tick" x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{shown}</text>'
    if diagonal:
        (x1, y1), (x2, y2) = at(0, 0), at(1, 1)
        body += f'<line class="zero" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1:.1f}" y2="{y2:.1f}"/>'
    for value, point in zip(xs, points, strict=True):
        x, y = at(value, point.y)
        if point.low is not None and point.high is not None:
            ends = at(value, point.low)[1], at(value, point.high)[1]
            body += f'<line class="whisker" x1="{x:.1f}" x2="{x:.1f}" y1="{ends[0]:.1f}" y2="{ends[1]:.1f}"/>'
        body += f'<circle class="dot {point.tone}" cx="{x:.1f}" cy="{y:.1f}" r="{point.radius:.1f}"/>'
    body += f'<text class="tick" x="{right}" y="{height - 3}" text-anchor="end">{escape(x_title)}</text>'
    label = escape(f"{y_title}, {x_title}", quote=True)
    return f'<svg class="curve plot" viewBox="0 0 {width} {height}" role="img" aria-label="{label}">{body}</svg>'


def ticks(low: float, high: float, most: int) -> list[float]:
    """At most `most` round values from `low` to `high`.

    >>> ticks(0.0, 97.0, 6)
    [0.0, 20.0, 40.0, 60.0, 80.0]
    """
    span = high - low
    if span <= 0:
        return [low]
    rough = span / max(1, most - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * digit for digit in (1, 2, 5, 10) if power * digit >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [float(f"{index * step:.12g}") for index in range(first, math.floor(high / step + 1e-9) + 1)]


def running_mean(values: Sequence[float], window: int) -> list[float]:
    """The mean of each value with its neighbours, half a window to either side where there are so many.

    >>> running_mean([1.0, 2.0, 6.0], 3)
    [1.5, 3.0, 4.0]
    """
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    half, num = window // 2, len(values)
    spans = [(max(0, index - half), min(num, index + half + 1)) for index in range(num)]
    return [(sums[end] - sums[start]) / (end - start) for start, end in spans]


def _curve(panels: Sequence[Line], x_title: str, width: int) -> str:
    step = _PANEL_TOP + _PANEL_HEIGHT
    height = step * len(panels) + _FOOT
    xs = [x for panel in panels for x, _ in panel.points]
    low, high = min(xs), max(xs)
    plot_width = width - _LEFT - _RIGHT
    body = ""
    for index, panel in enumerate(panels):
        top = index * step + _PANEL_TOP
        body += _panel(panel, _Frame(low, high, _LEFT, plot_width, top, _PANEL_HEIGHT))
    bottom = height - _FOOT
    span = (high - low) or 1.0
    for tick in ticks(low, high, max(3, width // 90)):
        x = _LEFT + (tick - low) / span * plot_width
        body += f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 4}"/>'
        body += f'<text class="tick" x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{numbers.count(tick)}</text>'
    body += f'<text class="tick" x="{width - _RIGHT}" y="{bottom + 31}" text-anchor="end">{escape(x_title)}</text>'
    label = escape(". ".join(panel.title for panel in panels), quote=True)
    return f'<svg class="curve" viewBox="0 0 {width} {height}" role="img" aria-label="{label}">{body}</svg>'


@dataclass(frozen=True)
class _Frame:
    """Where one panel stands: the range of x, and its rectangle."""

    low: float
    high: float
    left: float
    width: float
    top: float
    height: float

    def x(self, value: float) -> float:
        return self.left + (value - self.low) / ((self.high - self.low) or 1.0) * self.width


def _panel(line: Line, frame: _Frame) -> str:
    points = _thinned(line.points)
    low, high = _bounds([y for _, y in points])
    span = (high - low) or 1.0

    def y(value: float) -> float:
        return frame.top + (high - value) / span * frame.height

    body = f'<text class="label" x="0" y="{frame.top - 14}">{escape(line.title)}</text>'
    right = frame.left + frame.width
    for tick in ticks(low, high, 5):
        body += f'<line class="grid" x1="{frame.left}" x2="{right}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        body += f'<text class="tick" x="{frame.left - 7}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
    foot = frame.top + frame.height
    body += f'<line class="axis" x1="{frame.left}" x2="{right}" y1="{foot}" y2="{foot}"/>'
    places = [(frame.x(x), y(value)) for x, value in points]
    body += _path(places, "mean" if line.dots else "raw")
    if line.smooth > 1:
        means = _thinned(tuple(zip((x for x, _ in line.points), _means(line), strict=True)))
        body += _path([(frame.x(x), y(value)) for x, value in means], "mean")
    if line.dots:
        body += "".join(f'<circle class="dot" cx="{x:.1f}" cy="{at:.1f}" r="3.4"/>' for x, at in places)
    return body


def _means(line: Line) -> list[float]:
    return running_mean([value for _, value in line.points], line.smooth)


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    """A range a little wider than the values, ending on round numbers."""
    low, high = min(values), max(values)
    # Values that differ in their last bits only are drawn as one level, not as a mountain range.
    flat = high - low < 1e-6 * max(abs(low), abs(high))
    margin = (abs(high) * 0.05 if flat else (high - low) * 0.04) or 1.0
    inner = ticks(low - margin, high + margin, 5)
    step = inner[1] - inner[0] if len(inner) > 1 else margin
    return math.floor((low - margin) / step) * step, math.ceil((high + margin) / step) * step


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most a few hundred points: each the mean of its neighbours, the first and last kept as they are."""
    if len(points) <= _MOST_POINTS:
        return list(points)
    edges = [round(index * len(points) / _MOST_POINTS) for index in range(_MOST_POINTS + 1)]
    parts = [points[start:end] for start, end in pairwise(edges)]
    means = [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts]
    return [points[0], *means[1:-1], points[-1]]


def _path(places: Sequence[tuple[float, float]], kind: str) -> str:
    return f'<polyline class="{kind}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}"/>'
