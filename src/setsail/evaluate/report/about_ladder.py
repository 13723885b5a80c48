"""The chapter about cost: the ladder from the cheapest way of answering to the dearest, and where to stop."""

from __future__ import annotations

from setsail.base.page.blocks import Block, Cell, Chapter, Column, Figure, Prose, Table
from setsail.base.page.words import Words
from setsail.evaluate import ladder, more_rows, numbers
from setsail.evaluate.ladder import Ladder, Rung
from setsail.evaluate.more_rows import MoreRows
from setsail.evaluate.report import drawing
from setsail.evaluate.verdict import METRIC_NAMES


def ladder_chapter(climbed: Ladder, more: MoreRows | None, words: Words) -> Chapter:
    """Where to stop, what each rung costs and lacks to the best, and what more rows should bring."""
    told = Prose(ladder.sentence(climbed, words.language), "good" if climbed.stop else "open")
    columns = (
        Column(words("who")),
        Column(words("ladder_seconds"), "number"),
        Column(words("ladder_money"), "number"),
        Column(words("ladder_thousand"), "number"),
        Column(words("ladder_gap", metric=_lead(climbed, words)), "number"),
        Column(words("interval"), "number"),
        Column(words("decision")),
    )
    rows = tuple(_row(climbed, rung, words) for rung in climbed.rungs)
    blocks: list[Block] = [told, Table(columns, rows, words("ladder_how"))]
    if more is not None:
        blocks += [Prose(more_rows.sentence(more, words.language)), _growth(more, words), _more(more, words)]
    return Chapter("ladder", words("ladder"), tuple(blocks))


def _lead(climbed: Ladder, words: Words) -> str:
    name = METRIC_NAMES[climbed.metric][words.language == "zh"]
    return name if name == "chrF" else name[0].upper() + name[1:]


def _more(more: MoreRows, words: Words) -> Table:
    points = [(numbers.count(point.num_rows), point.accuracy) for point in more.points]
    points.append((words("forecast", rows=numbers.count(2 * more.points[-1].num_rows)), more.doubled))
    rows = tuple(
        (
            Cell(rows),
            Cell(numbers.metric_value("accuracy", accuracy.value)),
            Cell(numbers.metric_interval("accuracy", accuracy)),
        )
        for rows, accuracy in points
    )
    names = ("num_rows", "accuracy", "interval")
    return Table(tuple(Column(words(name), "number") for name in names), rows, words("more_how"))


def _growth(more: MoreRows, words: Words) -> Figure:
    points = [(point.num_rows, point.accuracy, "") for point in more.points]
    points.append((2 * more.points[-1].num_rows, more.doubled, "open"))
    drawn = [drawing.Point(rows, one.value, one.low, one.high, tone=tone) for rows, one, tone in points]
    return Figure(drawing.plot(drawn, words("num_rows"), words("accuracy"), log=True), words("growth"))


def _row(climbed: Ladder, rung: Rung, words: Words) -> tuple[Cell, ...]:
    is_best = rung.system == climbed.best
    finding = "best" if is_best else "not_worse" if rung.is_enough else "worse"
    return (
        Cell(words.known(rung.system)),
        Cell(f"{rung.cost.making:,.2f}"),
        Cell(f"{climbed.money(rung):,.5f}"),
        Cell(f"{rung.cost.thousand:,.2f}"),
        Cell("–" if is_best else numbers.metric_value(climbed.metric, rung.gap.value, signed=True)),
        Cell("–" if is_best else numbers.metric_interval(climbed.metric, rung.gap, signed=True)),
        Cell(words(finding), "good" if rung.system == climbed.stop else "bad" if finding == "worse" else ""),
    )
