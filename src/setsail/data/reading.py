"""From a source's records to rows of a task: one recognised format for each file, one group for each row.

What does not live here: what happens to rows afterwards (`prepare.py`). The invariant: as many rows and drops come out
as records and drops went in.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import PurePath

from setsail.base.errors import DataError, did_you_mean
from setsail.base.recipe_data import Data, Split
from setsail.base.recipe_pairs import WRITING_TASKS
from setsail.data import sources
from setsail.data.containers import Contents, Item
from setsail.data.formats import PLACE_COLUMNS, Format, for_task, recognise, to_row
from setsail.data.pairs import QUERY
from setsail.data.row import Drop, Record, Row
from setsail.data.sketch import normalised
from setsail.data.text_pairs import why_no_pair

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
    items: tuple[Known | Drop, ...]


@dataclass(frozen=True)
class Known:
    """A row and what its record says about the split: a given part, a time in seconds, a stratum as 16 hex digits."""

    row: Row
    part: str = ""
    time: float = math.nan
    stratum: str = ""


def understand(data: Data, place: str, contents: Contents, *, task: str, columns: Sequence[str] | None = None) -> Part:
    """One part with its format recognised and its records turned; `columns` are those of the whole file.

    Raises:
        DataError: as `formats.recognise`; a column of the recipe that is not there.
    """
    seen = columns_of(contents.items)
    columns = tuple(columns or seen)
    form = recognise(columns, name=data.format, columns=data.columns, place=place, task=task, languages=data.languages)
    form = replace(for_task(form, task, place, damage=data.damage), no_answer=data.no_answer)
    chosen = _columns_of_split(data.split)
    if not sources.is_package(data):
        for key, column in chosen.items():
            _require_column(key, column, columns, place)
    every = tuple(dict.fromkeys((*columns, *seen)))
    used = {*form.columns.values(), *chosen.values()}
    return Part(
        place=place,
        container=contents.container,
        encoding=contents.encoding,
        num_invalid_bytes=contents.num_invalid_bytes,
        form=form,
        columns=every,
        unused=tuple(name for name in every if name not in used and name.casefold() not in _NAMING_COLUMNS),
        items=tuple(_for_pairs(_turned(item, form, data), task) for item in _placed(contents.items, form, place)),
    )


def _placed(items: Iterable[Item], form: Format, place: str) -> Iterator[Item]:
    """The items, with the name of their file and folder as columns where the recipe asks for those."""
    wanted = set(PLACE_COLUMNS) & set(form.columns.values())
    named = dict(zip(PLACE_COLUMNS, (PurePath(place).stem, PurePath(place).parent.name), strict=True))
    told = {name: value for name, value in named.items() if name in wanted}
    for item in items:
        yield replace(item, fields={**item.fields, **told}) if told and isinstance(item, Record) else item


def columns_of(items: Iterable[Item]) -> tuple[str, ...]:
    """Every column that some record has, in the order in which they appear."""
    seen: Counter[str] = Counter()
    for item in items:
        if isinstance(item, Record):
            seen.update(item.fields.keys())
    return tuple(seen)


def _columns_of_split(split: Split) -> dict[str, str]:
    named = {"by": split.by, "time": split.time, "stratify": split.stratify}
    return {key: column for key, column in named.items() if column is not None}


def _require_column(key: str, column: str, columns: Sequence[str], place: str) -> None:
    if column not in columns:
        raise DataError(
            f'data.split.{key} names a column "{column}" that is not there; found: {", ".join(columns)}',
            place=place,
            hint=did_you_mean(column, columns),
        )


def _turned(item: Item, form: Format, data: Data) -> Known | Drop:
    if isinstance(item, Drop):
        return item
    row = to_row(item, form, system=data.system, damage=data.damage)
    if isinstance(row, Drop):
        return row
    if not row.group:
        row = replace(row, group=_group(item, row, data.split.by))
    time = math.nan
    if data.split.time is not None:
        value = item.fields.get(data.split.time)
        time = seconds_of(value)
        if math.isnan(time):
            return Drop(row.id, row.origin, "no_time", f"{data.split.time} is no date: {str(value)[:40]!r}")
    stratum = "" if data.split.stratify is None else _hashed(str(item.fields.get(data.split.stratify)))
    return Known(row, part=item.part, time=time, stratum=stratum)


def _for_pairs(item: Known | Drop, task: str) -> Known | Drop:
    """The row, unless it is no pair for a task of pairs."""
    if isinstance(item, Drop) or task not in WRITING_TASKS:
        return item
    return why_no_pair(item.row, task) or item


def seconds_of(value: object) -> float:
    """A date or a number as seconds since 1970 in UTC; not-a-number for anything else.

    >>> seconds_of("1970-01-02"), seconds_of(86400), seconds_of("1970/01/02 00:00:01"), seconds_of("soon")
    (86400.0, 86400.0, 86401.0, nan)
    """
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if isinstance(value, str):
        text = value.strip().replace("/", "-").replace("年", "-").replace("月", "-").replace("日", "")
        try:
            value = float(text)
        except ValueError:
            try:
                value = datetime.fromisoformat(text)
            except ValueError:
                return math.nan
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return math.nan


def _group(record: Record, row: Row, by: str | None) -> str:
    """Rows with the same value of the column, or the same first question, stay together. Hashed: it may be a name."""
    if by is not None:
        value = record.fields.get(by)
        if value is None or value == "":
            return ""
        return _hashed(f"{by}\0{value}")
    question = next((message["content"] for message in row.messages if message["role"] in ("user", QUERY)), "")
    return _hashed(normalised(question)) if question else ""


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
