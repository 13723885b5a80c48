"""The chapter about labels: each one's figures, what is taken for what, and mistakes to read."""

from __future__ import annotations

import math

from setsail.base.page.blocks import Block, Cell, Chapter, Column, Figure, Table
from setsail.base.page.words import Words
from setsail.evaluate import numbers
from setsail.evaluate.class_scores import ClassReport
from setsail.evaluate.doubts import Doubts
from setsail.evaluate.interval import Interval
from setsail.evaluate.report import drawing

MOST_IN_MATRIX = 12  # labels whose names fit side by side on a page


def classes_chapter(report: ClassReport, words: Words) -> Chapter:
    """Labels, confusion, the paired test, mistakes."""
    blocks: list[Block] = [_scores(report, words)] if report.scores else []
    if report.matrix and len(report.labels) <= MOST_IN_MATRIX:
        blocks.append(_matrix(report, words))
    if report.confusions:
        blocks.append(_confusions(report, words))
    if report.paired:
        blocks.append(_paired(report, words))
    if report.reliability:
        blocks.append(_reliability(report, words))
    if report.doubts is not None and report.doubts.shown:
        blocks.append(_doubts(report.doubts, words))
    if report.mistakes:
        blocks.append(_mistakes(report, words))
    return Chapter("classes", words("classes"), tuple(blocks))


def _scores(report: ClassReport, words: Words) -> Table:
    columns = (
        Column(words("label")),
        Column(words("num_rows"), "number"),
        *(Column(words(name), "number") for name in ("precision", "recall", "f1")),
    )
    rows = tuple(
        (
            Cell(score.label),
            Cell(numbers.count(score.num_rows)),
            *(Cell(_rate(interval)) for interval in (score.precision, score.recall, score.f1)),
        )
        for score in report.scores
    )
    return Table(columns, rows, words("classes_table", system=words.known(report.system)))


def _rate(interval: Interval) -> str:
    return f"{numbers.metric_value('accuracy', interval.value)} {numbers.metric_interval('accuracy', interval)}"


def _matrix(report: ClassReport, words: Words) -> Table:
    columns = (Column(""), *(Column(label, "number") for label in report.labels))
    rows = tuple(
        (
            Cell(label),
            *(
                Cell(numbers.count(count), "good" if column == line else "" if count else "quiet")
                for column, count in enumerate(counts)
            ),
        )
        for line, (label, counts) in enumerate(zip(report.labels, report.matrix, strict=True))
    )
    return Table(columns, rows, words("matrix"))


def _confusions(report: ClassReport, words: Words) -> Table:
    columns = (Column(words("label")), Column(words("said")), Column(words("num_rows"), "number"))
    rows = tuple((Cell(each.label), Cell(each.said), Cell(numbers.count(each.num_rows))) for each in report.confusions)
    return Table(columns, rows, words("confusions"))


def _paired(report: ClassReport, words: Words) -> Table:
    columns = (
        Column(words("against_short")),
        Column(words("only", system=words.known(report.system)), "number"),
        Column(words("only", system=words("against_short")), "number"),
        Column(words("p_value"), "number"),
    )
    rows = tuple(
        (
            Cell(words.known(each.against)),
            Cell(numbers.count(each.only_system)),
            Cell(numbers.count(each.only_against)),
            Cell("< 0.0001" if each.p_value < 0.0001 else f"{each.p_value:.4f}"),
        )
        for each in report.paired
    )
    return Table(columns, rows, words("paired"))


def _reliability(report: ClassReport, words: Words) -> Figure:
    most = max(each.num_rows for each in report.reliability)
    points = [
        drawing.Point(each.probability, each.accuracy, radius=2 + 8 * math.sqrt(each.num_rows / most))
        for each in report.reliability
    ]
    return Figure(drawing.plot(points, words("sureness"), words("right_share"), diagonal=True), words("reliability"))


def _doubts(doubts: Doubts, words: Words) -> Table:
    columns = (
        Column(words("text")),
        Column(words("place"), "code"),
        Column(words("label")),
        Column(words("said")),
        Column(words("probability"), "number"),
    )
    rows = tuple(
        (Cell(each.text), Cell(each.origin), Cell(each.label), Cell(each.said), Cell(f"{each.probability:.2f}"))
        for each in doubts.shown
    )
    caption = words("doubts", num=numbers.count(doubts.num_doubtful), rows=numbers.count(doubts.num_rows))
    return Table(columns, rows, caption)


def _mistakes(report: ClassReport, words: Words) -> Table:
    columns = (
        Column(words("text")),
        Column(words("label")),
        Column(words("said")),
        Column(words("probability"), "number"),
    )
    rows = tuple(
        (
            Cell(each.text),
            Cell(each.label),
            Cell(each.said),
            Cell("–" if each.probability is None else f"{each.probability:.2f}"),
        )
        for each in report.mistakes
    )
    return Table(columns, rows, words("mistakes"))
