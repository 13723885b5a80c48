"""The row: what every source becomes, and how rows lie in Parquet.

What does not live here: how a file's columns become a row (`formats.py`). The invariant: the id of a row is made once,
from what was read and where, and does not change when the row is cleaned or masked.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from setsail.base.errors import DataError
from setsail.base.files import explained_os_errors

# `tools` is the list of tools, `tool` what one returned; calls stand in the assistant's text (base/tool_calls.py).
# A pair of answers ends with the rejected one, behind the chosen one, which is the assistant's.
ROLES = ("system", "tools", "user", "assistant", "tool", "rejected")

BEFORE_SPEAKING = ("system", "tools")  # what stands before a conversation and is often the same in all

# A row group is what a reader holds at once and what one process takes on; it ends at whichever comes first.
GROUP_ROWS = 8192
GROUP_CHARACTERS = 4 << 20
_ROWS_AT_ONCE = 512

_MESSAGE = pa.struct([pa.field("role", pa.string(), False), pa.field("content", pa.string(), False)])
ROW_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), False),
        pa.field("messages", pa.list_(pa.field("item", _MESSAGE, False)), False),
        pa.field("text", pa.string(), False),
        pa.field("group", pa.string(), False),
        pa.field("origin", pa.string(), False),
        pa.field("label", pa.string(), False),
        pa.field("target", pa.string(), False),
        pa.field("marks", pa.list_(pa.field("item", pa.string(), False)), False),
    ]
)
_STRINGS = ("id", "text", "group", "origin", "label", "target")
DROP_SCHEMA = pa.schema([pa.field(name, pa.string(), False) for name in ("id", "origin", "reason", "detail")])


Message = dict[str, str]  # one turn of a conversation: `role`, one of ROLES, and `content`; or a named text of a pair


@dataclass(frozen=True)
class Record:
    """One record as a source holds it: named fields, not yet a conversation.

    `group` is a source's own split group; `part` is the part that the source itself gives it to (train, validation or
    test), or "".
    """

    origin: str
    fields: Mapping[str, object]
    group: str = ""
    part: str = ""


@dataclass(frozen=True)
class Row:
    """One training row: `messages` for chat or `text` for text, never both; `label` says what a text is, or is "".

    Where a task reads several texts, `messages` are those, and the role is what each is to the task (a question, its
    context). `target` is what is to be said where that is not a label (`base.target`), or "". `marks` is what preparing
    said of a row that stays: that it is toxic, or how it was made from another one.
    """

    id: str
    messages: tuple[Message, ...]
    text: str
    group: str
    origin: str
    label: str = ""
    marks: tuple[str, ...] = ()
    target: str = ""


@dataclass(frozen=True)
class Drop:
    """A record that is not used: where it stood and why. `detail` never quotes personal data."""

    id: str
    origin: str
    reason: str
    detail: str = ""


class Unfit(Exception):
    """Why a record cannot become a row; caught where the record is turned, never seen by a person."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


def row_id(content: object, origin: str) -> str:
    """16 hex digits that name a record: the hash of its canonical content and its origin.

    >>> row_id({"a": 1}, "x.csv:2") == row_id({"a": 1}, "x.csv:2") != row_id({"a": 1}, "x.csv:3")
    True
    """
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(f"{origin}\0{canonical}".encode()).hexdigest()[:16]


def drop_at(origin: str, reason: str, detail: str = "") -> Drop:
    """A drop of something that never became a record, named by its place."""
    return Drop(row_id(None, origin), origin, reason, detail)


def contents(row: Row) -> tuple[str, ...]:
    """Every piece of text that a row holds, in order."""
    return tuple(message["content"] for message in row.messages) if row.messages else (row.text,)


def with_contents(row: Row, texts: Iterable[str]) -> Row:
    """The same row with other texts in the same places; all else stays, spans too (`spans.py` moves them)."""
    new = list(texts)
    if not row.messages:
        return replace(row, text=new[0])
    messages = tuple(
        Message(role=message["role"], content=text) for message, text in zip(row.messages, new, strict=True)
    )
    return replace(row, messages=messages)


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Writes rows as Parquet in groups of bounded size; the same rows give the same bytes.

    Raises:
        SystemRefusal: disk full, no permission.
    """
    with (
        explained_os_errors(f"writing {path.name}"),
        pq.ParquetWriter(path, ROW_SCHEMA, compression="zstd", write_statistics=False, store_schema=False) as writer,
    ):
        for group in _groups(rows):
            writer.write_table(rows_table(group), row_group_size=len(group))


def rows_table(rows: Sequence[Row]) -> pa.Table:
    """Rows as an Arrow table with the columns of a file of rows."""
    turns = [message for row in rows for message in row.messages]
    message = pa.StructArray.from_arrays(
        [pa.array([turn[key] for turn in turns], pa.string()) for key in ("role", "content")], fields=list(_MESSAGE)
    )
    ends = itertools.accumulate((len(row.messages) for row in rows), initial=0)
    messages = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), message, type=ROW_SCHEMA.field("messages").type)
    columns = {name: pa.array([getattr(row, name) for row in rows], pa.string()) for name in _STRINGS}
    marks = pa.array([list(row.marks) for row in rows], ROW_SCHEMA.field("marks").type)
    return pa.table({**columns, "messages": messages, "marks": marks}).select(ROW_SCHEMA.names).cast(ROW_SCHEMA)


def _groups(rows: Iterable[Row]) -> Iterator[list[Row]]:
    group: list[Row] = []
    num_characters = 0
    for row in rows:
        group.append(row)
        num_characters += sum(map(len, contents(row)))
        if len(group) >= GROUP_ROWS or num_characters >= GROUP_CHARACTERS:
            yield group
            group, num_characters = [], 0
    if group:
        yield group


def write_drops(path: Path, drops: Iterable[Drop]) -> None:
    """Writes what was dropped and why, as Parquet."""
    table = drops_table(list(drops))
    with explained_os_errors(f"writing {path.name}"):
        pq.write_table(table, path, compression="zstd", write_statistics=False, store_schema=False)


def drops_table(drops: Sequence[Drop]) -> pa.Table:
    """Drops as an Arrow table with the columns of a file of drops."""
    columns = {name: pa.array([getattr(drop, name) for drop in drops], pa.string()) for name in DROP_SCHEMA.names}
    return pa.table(columns, schema=DROP_SCHEMA)


def read_rows(path: Path) -> list[Row]:
    """The rows of a Parquet file that `write_rows` wrote.

    Raises:
        DataError: the file is missing, damaged or holds other columns.
    """
    return list(iterate_rows(path))


def iterate_rows(path: Path, row_group: int | None = None) -> Iterator[Row]:
    """The rows of a file, or of one of its row groups, in their order; a few hundred are in memory at a time.

    Raises:
        DataError: the file is missing, damaged or holds other columns.
    """
    yield from map(_row_in, _lines(path, ROW_SCHEMA, row_group))


def rows_of(table: pa.Table) -> list[Row]:
    """The rows of a table that `rows_table` made."""
    return [_row_in(line) for line in table.to_pylist()]


def _row_in(line: Mapping[str, Any]) -> Row:
    messages = tuple(Message(role=m["role"], content=m["content"]) for m in line["messages"])
    strings = {name: line[name] for name in _STRINGS}
    return Row(messages=messages, marks=tuple(line["marks"]), **strings)


def num_row_groups(path: Path) -> int:
    """How many row groups a file of rows has.

    Raises:
        DataError: the file is missing, damaged or holds other columns.
    """
    with _reading(path), pq.ParquetFile(path) as file:
        return file.num_row_groups


def read_drops(path: Path) -> list[Drop]:
    """The drops of a Parquet file that `write_drops` wrote."""
    return [Drop(**line) for line in _lines(path, DROP_SCHEMA)]


def _lines(path: Path, schema: pa.Schema, row_group: int | None = None) -> Iterator[dict[str, Any]]:
    # A buffer makes the reader take pages of a column as they are needed, not the whole group at once.
    with _reading(path), pq.ParquetFile(path, buffer_size=1 << 20) as file:
        missing = [name for name in schema.names if name not in file.schema_arrow.names]
        if missing:
            raise DataError(f"not a file of prepared rows: no column {', '.join(missing)}", place=str(path))
        groups = None if row_group is None else [row_group]
        for batch in file.iter_batches(_ROWS_AT_ONCE, row_groups=groups, columns=schema.names, use_threads=False):
            yield from batch.to_pylist()


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f'"{path}" does not exist', hint="prepare the data again: setsail prepare RECIPE") from error
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"prepared rows cannot be read: {error}", place=str(path)) from error
