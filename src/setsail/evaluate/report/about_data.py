"""The chapters about data: what went in, what was dropped and why, and rows as the model sees them."""

from __future__ import annotations

from setsail.evaluate import numbers
from setsail.evaluate.report import drawing
from setsail.evaluate.report.blocks import Block, Bullets, Cell, Chapter, Column, Passage, Prose, Table
from setsail.evaluate.report.facts import DataFacts, WaterfallStep
from setsail.evaluate.report.words import Words


def data_chapter(facts: DataFacts, words: Words) -> Chapter:
    """Source, findings, the waterfall of rows, and the split."""
    blocks: list[Block] = []
    if facts.source:
        blocks.append(Prose(words("source", source=facts.source)))
    if facts.findings:
        blocks.append(Bullets(facts.findings))
    if facts.waterfall:
        blocks.append(_waterfall(facts.waterfall, words))
    if facts.split:
        blocks.append(_split(facts, words))
    return Chapter("data", words("data"), tuple(blocks))


def rendered_chapter(facts: DataFacts, words: Words) -> Chapter:
    """A few training rows, with the supervised tokens marked."""
    if not facts.rendered:
        return Chapter("rendered", words("rendered"), ())
    passages = [Passage(f"{row.row_id} · {row.origin}", row.runs) for row in facts.rendered]
    return Chapter("rendered", words("rendered"), (Prose(words("rendered_how")), *passages))


def _waterfall(steps: tuple[WaterfallStep, ...], words: Words) -> Table:
    whole = max(step.rows_left + sum(step.removed.values()) for step in steps)
    columns = (
        Column(words("step")),
        Column(words("rows_left"), "number"),
        Column(words("removed"), "number"),
        Column("", "figure"),
        Column(words("reasons")),
    )
    return Table(columns, tuple(_waterfall_row(step, whole, words) for step in steps), words("waterfall"))


def _waterfall_row(step: WaterfallStep, whole: int, words: Words) -> tuple[Cell, ...]:
    lost = sum(step.removed.values())
    reasons = [words("reason", name=words.known(name), num=numbers.count(num)) for name, num in step.removed.items()]
    reasons += [words("changed", name=words.known(name), num=numbers.count(num)) for name, num in step.changed.items()]
    return (
        Cell(words.known(step.step)),
        Cell(numbers.count(step.rows_left)),
        Cell(numbers.count(lost) if lost else "–", "" if lost else "quiet"),
        Cell("", figure=drawing.bar(step.rows_left, whole, lost=lost)),
        Cell(words.joined(reasons)),
    )


def _split(facts: DataFacts, words: Words) -> Table:
    columns = (Column(words("split_part")), Column(words("num_rows"), "number"), Column("", "figure"))
    whole = sum(facts.split.values())
    rows = tuple(
        (Cell(words.known(part)), Cell(numbers.count(num)), Cell("", figure=drawing.bar(num, whole)))
        for part, num in facts.split.items()
    )
    return Table(columns, rows, words("split"))
