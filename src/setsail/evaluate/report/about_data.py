"""The chapters about data: what went in, what was dropped and why, and rows as the model sees them."""

from __future__ import annotations

from setsail.base.page import drawing
from setsail.base.page.blocks import Block, Bullets, Cell, Chapter, Column, Link, Passage, Prose, Table
from setsail.base.page.words import Words
from setsail.evaluate import numbers
from setsail.evaluate.report.facts import DataFacts, WaterfallStep


def data_chapter(facts: DataFacts, words: Words) -> Chapter:
    """Source, findings, the waterfall of rows, and the split."""
    blocks: list[Block] = []
    if facts.source:
        blocks.append(Prose(words("source", source=facts.source)))
    if facts.page:
        blocks.append(Link(words("data_page"), facts.page))
    if facts.findings:
        blocks.append(Bullets(facts.findings))
    if facts.waterfall:
        blocks.append(_waterfall(facts.waterfall, words))
    if facts.dropped or facts.changed or facts.redacted:
        blocks.append(_reasons(facts, words))
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
    columns = (
        Column(words("step")),
        Column(words("rows_left"), "number"),
        Column(words("removed"), "number"),
        Column("", "figure"),
    )
    whole = max(step.rows_left for step in steps)
    before = [steps[0].rows_left, *(step.rows_left for step in steps)]
    rows = []
    for step, num_before in zip(steps, before, strict=False):
        lost = num_before - step.rows_left
        rows.append(
            (
                Cell(words.known(step.step)),
                Cell(numbers.count(step.rows_left)),
                Cell(numbers.count(lost) if lost else "–", "" if lost else "quiet"),
                Cell("", figure=drawing.bar(step.rows_left, whole, lost=lost)),
            )
        )
    return Table(columns, tuple(rows), words("waterfall"))


def _reasons(facts: DataFacts, words: Words) -> Table:
    """Every reason with its count: rows dropped, rows changed, values masked."""
    columns = (Column(words("what_happened")), Column(words("reason")), Column(words("count"), "number"))
    accounts = (("dropped", facts.dropped), ("changed", facts.changed), ("redacted", facts.redacted))
    rows = tuple(
        (Cell(words(kind)), Cell(words.known(reason)), Cell(numbers.count(num)))
        for kind, account in accounts
        for reason, num in account.items()
    )
    return Table(columns, rows, words("reasons"))


def _split(facts: DataFacts, words: Words) -> Table:
    columns = (Column(words("split_part")), Column(words("num_rows"), "number"), Column("", "figure"))
    whole = sum(facts.split.values())
    rows = tuple(
        (Cell(words.known(part)), Cell(numbers.count(num)), Cell("", figure=drawing.bar(num, whole)))
        for part, num in facts.split.items()
    )
    return Table(columns, rows, words("split"))
