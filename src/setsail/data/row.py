"""The row: what every source becomes, and how rows lie in Parquet.

What does not live here: how a file's columns become a row (`formats.py`). The invariant: the id of a row is made once,
from what was read and where, and does not change when the row is cleaned or masked.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from setsail.base.errors import DataError
from setsail.base.files import explained_os_errors

ROLES = ("system", "user", "assistant")

_MESSAGE = pa.struct([pa.field("role", pa.string(), False), pa.field("content", pa.string(), False)])
_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), False),
        pa.field("messages", pa.list_(pa.field("item", _MESSAGE, False)), False),
        pa.field("text", pa.string(), False),
        pa.field("group", pa.string(), False),
        pa.field("origin", pa.string(), False),
        pa.field("label", pa.string(), False),
    ]
)
_DROP_SCHEMA = pa.schema([pa.field(name, pa.string(), False) for name in ("id", "origin", "reason", "detail")])


Message = dict[str, str]  # one turn of a conversation: `role`, one of ROLES, and `content`


@dataclass(frozen=True)
class Record:
    """One record as a source holds it: named fields, not yet a conversation. `group` is a source's own split group."""

    origin: str
    fields: Mapping[str, object]
    group: str = ""


@dataclass(frozen=True)
class Row:
    """One training row: `messages` for chat or `text` for text, never both; `label` says what a text is, or is ""."""

    id: str
    messages: tuple[Message, ...]
    text: str
    group: str
    origin: str
    label: str = ""


@dataclass(frozen=True)
class Drop:
    """A record that is not used: where it stood and why. `detail` never quotes personal data."""

    id: str
    origin: str
    reason: str
    detail: str = ""


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
    """The same row with other texts in the same places; id, group, origin and label stay."""
    new = list(texts)
    if not row.messages:
        return replace(row, text=new[0])
    messages = tuple(
        Message(role=message["role"], content=text) for message, text in zip(row.messages, new, strict=True)
    )
    return replace(row, messages=messages)


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Writes rows as Parquet; the same rows give the same bytes.

    Raises:
        SystemRefusal: disk full, no permission.
    """
    columns = [
        {
            "id": row.id,
            "messages": list(row.messages),
            "text": row.text,
            "group": row.group,
            "origin": row.origin,
            "label": row.label,
        }
        for row in rows
    ]
    _write(path, pa.Table.from_pylist(columns, schema=_SCHEMA))


def write_drops(path: Path, drops: Iterable[Drop]) -> None:
    """Writes what was dropped and why, as Parquet."""
    columns = [{"id": d.id, "origin": d.origin, "reason": d.reason, "detail": d.detail} for d in drops]
    _write(path, pa.Table.from_pylist(columns, schema=_DROP_SCHEMA))


def read_rows(path: Path) -> list[Row]:
    """The rows of a Parquet file that `write_rows` wrote.

    Raises:
        DataError: the file is missing, damaged or holds other columns.
    """
    table = _read(path, _SCHEMA)
    return [
        Row(
            id=line["id"],
            messages=tuple(Message(role=m["role"], content=m["content"]) for m in line["messages"]),
            text=line["text"],
            group=line["group"],
            origin=line["origin"],
            label=line["label"],
        )
        for line in table.to_pylist()
    ]


def read_drops(path: Path) -> list[Drop]:
    """The drops of a Parquet file that `write_drops` wrote."""
    return [Drop(**line) for line in _read(path, _DROP_SCHEMA).to_pylist()]


def _write(path: Path, table: pa.Table) -> None:
    with explained_os_errors(f"writing {path.name}"):
        pq.write_table(table, path, compression="zstd", write_statistics=False, store_schema=False)


def _read(path: Path, schema: pa.Schema) -> pa.Table:
    try:
        table = pq.ParquetFile(path).read()
    except FileNotFoundError as error:
        raise DataError(f'"{path}" does not exist', hint="prepare the data again: setsail prepare RECIPE") from error
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"prepared rows cannot be read: {error}", place=str(path)) from error
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise DataError(f"not a file of prepared rows: no column {', '.join(missing)}", place=str(path))
    return table.select(schema.names)
