"""The cells of a workbook as text, made in the child process of `apart.py`.

What does not live here: which line is the header (`workbook.py`), which runs in the parent.
"""

from __future__ import annotations

import datetime
import io
from collections.abc import Iterator
from typing import Any

import python_calamine as calamine

from setsail.data.readers.apart import Unreadable

# Twice a full sheet of Excel with fifty columns; a stray cell in a corner spans 17 thousand million.
MAX_CELLS = 100_000_000


def values(data: bytes) -> Iterator[Any]:
    """For each sheet its facts, then its lines as texts.

    Raises:
        Unreadable: a workbook with a password, a sheet of too many cells.
    """
    try:
        book = calamine.CalamineWorkbook.from_filelike(io.BytesIO(data))
    except calamine.PasswordError as error:
        raise Unreadable("the workbook has a password", "save it without one") from error
    for about in book.sheets_metadata:
        if about.typ != calamine.SheetTypeEnum.WorkSheet:
            continue
        hidden = about.visible != calamine.SheetVisibleEnum.Visible
        sheet = book.get_sheet_by_name(about.name)
        yield {"sheet": about.name, "hidden": hidden}
        if hidden:
            continue
        if sheet.width * sheet.total_height > MAX_CELLS:
            raise Unreadable(
                f"sheet {about.name!r} spans more than {MAX_CELLS:,} cells", "delete the stray cells far away"
            )
        for cells in sheet.iter_rows():
            yield [text_of(cell) for cell in cells]


def text_of(cell: object) -> str:
    """A cell as a person sees it.

    >>> text_of(3.0), text_of(0.1), text_of(True), text_of(datetime.datetime(2026, 1, 31, 9, 5))
    ('3', '0.1', 'TRUE', '2026-01-31 09:05:00')
    """
    if isinstance(cell, str):
        return cell.strip()
    if isinstance(cell, bool):
        return str(cell).upper()
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() and abs(cell) < 1e15 else repr(cell)
    if isinstance(cell, datetime.datetime):
        return cell.isoformat(sep=" ", timespec="seconds")
    return str(cell)
