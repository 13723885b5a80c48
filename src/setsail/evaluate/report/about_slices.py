"""The chapter about slices: on which rows the model is good, and on which it is weak."""

from __future__ import annotations

from setsail.base.page.blocks import Cell, Chapter, Column, Prose, Table
from setsail.base.page.words import Words
from setsail.evaluate import numbers
from setsail.evaluate.report import drawing
from setsail.evaluate.slices import Slices
from setsail.evaluate.verdict import METRIC_NAMES


def slices_chapter(slices: Slices, words: Words) -> Chapter:
    """A row for each slice and system, the weak ones marked."""
    if not slices.found:
        return Chapter("slices", words("slices"), ())
    name = METRIC_NAMES[slices.metric][words.language == "zh"]
    intervals = [each for slice in slices.found for each in slice.scores.values()]
    low, high = min(each.low for each in intervals), max(each.high for each in intervals)
    weak = slices.weak
    rows = tuple(
        (
            Cell(f"{words(f'slice_{slice.by}')} {slice.name.strip()}"),
            Cell(numbers.count(slice.num_rows)),
            Cell(words.known(system)),
            Cell(numbers.metric_value(slices.metric, found.value), "bad" if place == 0 and slice in weak else ""),
            Cell(numbers.metric_interval(slices.metric, found)),
            Cell("", figure=drawing.whisker(found, low, high)),
        )
        for slice in slices.found
        for place, (system, found) in enumerate(slice.scores.items())
    )
    columns = (
        Column(words("slice")),
        Column(words("num_rows"), "number"),
        Column(words("who")),
        Column(name if name == "chrF" else name[0].upper() + name[1:], "number"),
        Column(words("interval"), "number"),
        Column("", "figure"),
    )
    told = words("slices_weak", num=len(weak)) if weak else words("slices_even")
    return Chapter("slices", words("slices"), (Prose(told, "bad" if weak else ""), Table(columns, rows)))
