"""The chapter about searches: queries for which another text stands first, to be read."""

from __future__ import annotations

from collections.abc import Sequence

from setsail.base.page.blocks import Cell, Chapter, Column, Table
from setsail.base.page.words import Words
from setsail.evaluate import numbers
from setsail.evaluate.evaluation import Missed


def missed_chapter(missed: Sequence[Missed], words: Words) -> Chapter:
    """The query, the text that was wanted, the one that stands first, and the rank of the wanted one."""
    columns = (*(Column(words(name)) for name in ("query", "wanted", "first")), Column(words("rank"), "number"))
    rows = tuple((Cell(each.query), Cell(each.wanted), Cell(each.first), Cell(_rank(each.rank))) for each in missed)
    return Chapter("missed", words("missed"), (Table(columns, rows, words("missed_how")),) if rows else ())


def _rank(rank: int | None) -> str:
    return "> 100" if rank is None else numbers.count(rank)
