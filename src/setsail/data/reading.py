"""From a source's records to rows of a task: one recognised format for each file, one group for each row.

What does not live here: what happens to rows afterwards (`prepare.py`). The invariant: as many rows and drops come out
as records and drops went in.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from setsail.base.errors import DataError, did_you_mean
from setsail.base.recipe import Data
from setsail.data import sources
from setsail.data.containers import Contents, Item
from setsail.data.duplicates import normalised
from setsail.data.formats import Format, for_task, recognise, to_row
from setsail.data.row import Drop, Record, Row

# Columns that name a row rather than fill it: nobody expects them to be trained on.
_NAMING_COLUMNS = {"id", "kind", "function", "index", "idx"}


@dataclass(frozen=True)
class Part:
    """One file of a source (or one package): how it was understood, and what came out of it."""

    place: str
    container: str
    encoding: str
    num_invalid_bytes: int
    form: Format
    columns: tuple[str, ...]
    unused: tuple[str, ...]
    items: tuple[Row | Drop, ...]


def read_parts(data: Data, base_dir: Path, *, task: str) -> list[Part]:
    """Every part of a source, as rows of a task.

    Raises:
        DataError: as `sources.read` and `formats.recognise`; a column of the recipe that is not there.
    """
    return [understand(data, place, contents, task=task) for place, contents in sources.read(data, base_dir)]


def understand(data: Data, place: str, contents: Contents, *, task: str) -> Part:
    """One part with its format recognised and its records turned."""
    columns = columns_of(contents.items)
    form = for_task(recognise(columns, name=data.format, columns=data.columns, place=place), task, place)
    if data.split.by is not None and data.split.by not in columns and not sources.is_package(data):
        raise DataError(
            f'data.split.by names a column "{data.split.by}" that is not there; found: {", ".join(columns)}',
            place=place,
            hint=did_you_mean(data.split.by, columns),
        )
    used = {*form.columns.values(), data.split.by}
    return Part(
        place=place,
        container=contents.container,
        encoding=contents.encoding,
        num_invalid_bytes=contents.num_invalid_bytes,
        form=form,
        columns=columns,
        unused=tuple(name for name in columns if name not in used and name.casefold() not in _NAMING_COLUMNS),
        items=tuple(_turned(item, form, data) for item in contents.items),
    )


def columns_of(items: Iterable[Item]) -> tuple[str, ...]:
    """Every column that some record has, in the order in which they appear."""
    seen: Counter[str] = Counter()
    for item in items:
        if isinstance(item, Record):
            seen.update(item.fields.keys())
    return tuple(seen)


def _turned(item: Item, form: Format, data: Data) -> Row | Drop:
    if isinstance(item, Drop):
        return item
    row = to_row(item, form, system=data.system)
    if isinstance(row, Drop) or row.group:
        return row
    return replace(row, group=_group(item, row, data.split.by))


def _group(record: Record, row: Row, by: str | None) -> str:
    """Rows with the same value of the column, or the same first question, stay together. Hashed: it may be a name."""
    if by is not None:
        value = record.fields.get(by)
        if value is None or value == "":
            return ""
        return _hashed(f"{by}\0{value}")
    question = next((message["content"] for message in row.messages if message["role"] == "user"), "")
    return _hashed(normalised(question)) if question else ""


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
