"""The chapter about training: what was announced and what came, and the curve."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

from setsail.base.page.blocks import Block, Cell, Chapter, Column, Figure, Prose, Table
from setsail.base.page.words import Words
from setsail.evaluate import numbers, verdict
from setsail.evaluate.report import drawing
from setsail.evaluate.report.facts import CurvePoint, PlanFacts, SampledTexts, TrainingFacts

T = TypeVar("T")

_POINTS_IN_TABLE = 8


def training_chapter(facts: TrainingFacts, words: Words) -> Chapter:
    """Method, plan against outcome, the curve drawn and in figures."""
    blocks: list[Block] = []
    if facts.method:
        blocks.append(Prose(facts.method))
    if facts.plan:
        blocks.append(_plan(facts.plan, words))
    if facts.truncated:
        blocks.append(Prose(words("truncated", rows=", ".join(facts.truncated))))
    if facts.steps:
        blocks += _curve(facts, words)
    if facts.samples:
        blocks.append(_samples(facts.samples, words))
    return Chapter("training", words("training"), tuple(blocks))


def _plan(plan: PlanFacts, words: Words) -> Table:
    same = [
        ("plan_rows", plan.num_rows),
        ("plan_tokens", plan.num_tokens),
        ("plan_supervised", plan.num_supervised),
        ("plan_truncated", plan.num_truncated),
        ("plan_steps", plan.num_steps),
    ]
    rows: list[tuple[Cell, ...]] = [(Cell(words(key)), Cell(numbers.count(num)), Cell("")) for key, num in same]
    rows.append(_said_and_came("plan_seconds", plan.predicted_seconds, plan.actual_seconds, numbers.duration, words))
    memory = plan.predicted_memory_bytes, plan.actual_memory_bytes
    rows.append(_said_and_came("plan_memory", *memory, numbers.size, words))
    if plan.core_hours is not None:
        rows.append((Cell(words("plan_core_hours")), Cell("–", "quiet"), Cell(f"{plan.core_hours:.2f}")))
    columns = (Column(""), Column(words("plan_said"), "number"), Column(words("plan_came"), "number"))
    return Table(columns, tuple(rows), words("plan"))


def _said_and_came(
    key: str, said: float | None, came: float | None, written: Callable[[float], str], words: Words
) -> tuple[Cell, ...]:
    texts = [written(value) if value is not None else "–" for value in (said, came)]
    return (Cell(words(key)), *(Cell(text, "quiet" if text == "–" else "") for text in texts))


def _curve(facts: TrainingFacts, words: Words) -> list[Block]:
    window = max(1, min(50, len(facts.steps) // 10))
    loss = {"nats_per_row": "loss_per_row", "nats_per_pair": "loss_per_pair"}.get(facts.measure, "loss_per_token")
    losses = tuple((float(point.step), point.loss_nats) for point in facts.steps if math.isfinite(point.loss_nats))
    panels = [drawing.Line(words(loss), losses, smooth=window)] if losses else []
    if facts.validation:
        values = tuple((float(point.step), point.value) for point in facts.validation)
        panels.append(drawing.Line(words("validation", measure=_measure(facts, words)), values, dots=True))
    blocks: list[Block] = []
    if panels:
        blocks.append(Figure(drawing.curve(panels, words("axis_step")), words("curve", window=window)))
    blocks.append(_points(facts.steps, words))
    if facts.validation:
        blocks.append(_validation(facts, words))
    return blocks


def _points(steps: Sequence[CurvePoint], words: Words) -> Table:
    columns = (
        Column(words("axis_step"), "number"),
        Column(words("curve_tokens"), "number"),
        Column(words("curve_loss"), "number"),
        Column(words("curve_rate"), "number"),
    )
    rows = tuple(
        (
            Cell(numbers.count(point.step)),
            Cell(numbers.count(point.num_tokens)),
            Cell(f"{point.loss_nats:.3f}"),
            Cell(numbers.short(point.learning_rate)),
        )
        for point in _evenly(steps)
    )
    return Table(columns, rows, words("curve_table"))


def _validation(facts: TrainingFacts, words: Words) -> Table:
    measure = _measure(facts, words)
    columns = (Column(words("axis_step"), "number"), Column(measure[0].upper() + measure[1:], "number"))
    rows = tuple(
        (Cell(numbers.count(point.step)), Cell(numbers.metric_value(facts.measure, point.value)))
        for point in _evenly(facts.validation)
    )
    return Table(columns, rows, words("curve_validation", measure=measure))


def _samples(samples: Sequence[SampledTexts], words: Words) -> Table:
    """The texts after some of the steps, below one another so that they can be compared."""
    shown = _evenly(samples)
    texts = zip(*(each.texts for each in shown), strict=False)
    pairs = [pair for same in texts for pair in zip(shown, same, strict=True)]
    rows = tuple((Cell(numbers.count(each.step)), Cell(text)) for each, text in pairs)
    columns = (Column(words("axis_step"), "number"), Column(words("text")))
    return Table(columns, rows, words("learned_samples"))


def _measure(facts: TrainingFacts, words: Words) -> str:
    return verdict.METRIC_NAMES[facts.measure][words.language == "zh"]


def _evenly(points: Sequence[T]) -> list[T]:
    """At most eight points, the first and the last among them."""
    if len(points) <= _POINTS_IN_TABLE:
        return list(points)
    return [points[round(index * (len(points) - 1) / (_POINTS_IN_TABLE - 1))] for index in range(_POINTS_IN_TABLE)]
