"""xlsx, xls and ods: each visible sheet is a table whose first line that holds something is its header.

A cell is the text that a person sees, as far as the file says it: 3 and not 3.0, a date as 2026-01-31, TRUE. What does
not live here: number formats (12 % is read as the 0.12 that it is) and formulas (their last results are read). The
invariant: every line under a header is a record, or it is empty.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from setsail.base.errors import DataError
from setsail.data.readers.apart import read_apart
from setsail.data.row import Drop, Record, drop_at


def read(data: bytes, place: str, *, encoding: str = "auto") -> Iterator[Record | Drop]:
    """The lines of every sheet, with origins such as "orders.xlsx#May:7".

    Raises:
        DataError: the workbook is broken, locked or hostile; a header names a column twice.
    """
    origin, number, header = place, 0, []
    for value in read_apart("cells", data, place):
        if isinstance(value, dict):
            origin, number, header = f"{place}#{value['sheet']}", 1, []
            if value["hidden"]:
                yield drop_at(origin, "hidden_sheet", "unhide it to have it read")
            continue
        if not any(value):
            pass
        elif not header:
            header = _header(value, f"{origin}:{number}")
        else:
            yield _record(value, header, f"{origin}:{number}")
        number += 1


def _header(cells: Sequence[str], place: str) -> list[str]:
    """The columns' names; a cell left empty in the header has the name of its place, as spreadsheets count it."""
    names = [" ".join(cell.split()) or f"column {number}" for number, cell in enumerate(cells, start=1)]
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        words = f"the header names a column twice: {', '.join(map(repr, twice[:5]))}"
        raise DataError(words, place=place, hint="give every column a name of its own")
    return names


def _record(cells: Sequence[str], header: Sequence[str], origin: str) -> Record:
    pairs = zip(header, cells, strict=True)
    return Record(origin, {name: cell for name, cell in pairs if cell or not name.startswith("column ")})
