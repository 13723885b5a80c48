"""What holds records: csv, tsv, json, jsonl, parquet, arrow, txt and md; and the names of all that can be read.

Each reader gives `Record`s with the line they stood on, or a `Drop` for what is broken. Not here: readers of whole
files (`readers/`, one file a kind), what the columns mean (`formats.py`), which files are read (`sources.py`).
The invariant: every record of a file comes out once, as one or the other.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from setsail.base.errors import DataError
from setsail.base.files import explained_os_errors
from setsail.data import encoding as encodings
from setsail.data.row import Drop, Record, drop_at, row_id
from setsail.data.unpack import COMPRESSED, MAX_BYTES, read_bytes, regular

Item = Record | Drop

_MAX_FIELD_CHARACTERS = 1 << 28
_BATCH_ROWS = 1024
# Orange's .tab files have a line of types and a line of roles under their header (Orange 3, "Loading your data").
_ORANGE_HEADER_LINES = 3
_ORANGE_WORDS = {
    *["discrete", "d", "continuous", "c", "string", "s", "text", "time", "t", "class", "meta", "m", "ignore", "i"]
}
_HEADING = re.compile(r"^#{1,6}\s")
_FENCE = re.compile(r"^\s*(```|~~~)")


@dataclass(frozen=True)
class Contents:
    """What one file holds."""

    container: str
    encoding: str
    items: tuple[Item, ...]
    num_invalid_bytes: int = 0


@dataclass(frozen=True)
class Opening:
    """What stood before a piece of a text file: its first line's number, a table's header, how documents are parted."""

    first_line: int = 1
    header: tuple[str, ...] = ()
    delimiter: str = ""
    by_blank: bool | None = None


WHOLE = Opening()


def container_of(path: Path) -> str | None:
    """The container that a file's name promises, or None: "tickets.csv.gz" is a csv."""
    return container_named(path.name)


def container_named(name: str) -> str | None:
    """The container that a name promises, or None."""
    suffixes = [suffix.lower() for suffix in Path(name).suffixes]
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    return _SUFFIXES.get(suffixes[-1]) if suffixes else None


def worth_reading(names: Iterable[str]) -> set[str]:
    """The names among these that are read: where tables lie, they alone, since a README or a licence lies beside."""
    readable = {name: container for name in names if (container := container_named(name))}
    return {name for name, container in readable.items() if container not in _PROSE} or set(readable)


def read_file(path: Path, place: str, *, encoding: str = "auto") -> Contents:
    """Every record of a file; `place` is the name that origins carry.

    Raises:
        DataError: unknown container, empty, broken as a whole, wrong encoding, hostile size.
        SystemRefusal: no permission.
    """
    container = container_of(path)
    if container is None:
        raise DataError(
            f'"{place}" is not a kind of file that can be read',
            hint="known: " + ", ".join(sorted(_SUFFIXES)) + f"; the texts among them also with {', '.join(COMPRESSED)}",
        )
    if container in _TABLES:
        return Contents(container, "", tuple(_read_table(path, place, container)))
    return content_of(read_bytes(path, place), path.name, place, encoding=encoding)


def content_of(data: bytes, name: str, place: str, *, encoding: str = "auto") -> Contents:
    """Every record of a file's unpacked bytes, in the container that its name promises.

    Raises:
        DataError: as `read_file`.
    """
    container = container_named(name)
    assert container is not None, name
    if container in _TABLES:
        return Contents(container, "", tuple(_read_table(pa.BufferReader(data), place, container)))
    if container in _READERS:
        items = tuple(_checked(item) for item in reader_of(container)(data, place, encoding=encoding))
        if not items:
            raise DataError("the file holds no rows", place=place, hint="name a file that holds rows")
        return Contents(container, "", items)
    decoded = encodings.decode(data, encoding=encoding, place=place)
    try:
        items = items_in(decoded.text, place, container)
    except RecursionError as error:
        raise DataError("the file is nested too deeply", place=place) from error
    if not items:
        raise DataError("the file holds no rows", place=place, hint="name a file that holds rows")
    broken = [item for item in items if isinstance(item, Drop)]
    if len(broken) == len(items):
        where = encodings.first_invalid(data, decoded.encoding) or broken[0].detail
        raise DataError(f"no row of the file can be read: {broken[0].reason} ({where})", place=broken[0].origin)
    return Contents(container, decoded.encoding, tuple(items), decoded.num_invalid_bytes)


def items_in(text: str, place: str, container: str, opening: Opening = WHOLE) -> list[Item]:
    """Every record of a text file, or of a piece of one."""
    return [_checked(item) for item in _TEXTS[container](text, place, opening)]


def reader_of(container: str) -> Callable[..., Iterator[Item]]:
    """The reader of whole files of a kind: `read(data, place, *, encoding)`."""
    module, name = _READERS[container].split(":")
    return getattr(import_module(f"setsail.data.readers.{module}"), name)


def _checked(item: Item) -> Item:
    if isinstance(item, Drop):
        return item
    reason = encodings.bad_text(item.fields)
    if reason is None:
        return item
    return Drop(row_id(item.fields, item.origin), item.origin, reason, "bytes or characters that are not valid text")


def _read_csv(text: str, place: str, opening: Opening) -> Iterator[Item]:
    yield from _delimited(text, place, opening, opening.delimiter or delimiter_of(text))


def _read_tsv(text: str, place: str, opening: Opening) -> Iterator[Item]:
    yield from _delimited(text, place, opening, "\t")


def delimiter_of(text: str) -> str:
    """The comma, unless the header has none and is cut by another common delimiter."""
    header = text.lstrip("\r\n").split("\n", 1)[0]
    return "," if "," in header else max(",;\t|", key=header.count)


def _delimited(text: str, place: str, opening: Opening, delimiter: str) -> Iterator[Item]:
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header, before = opening.header, opening.first_line - 1
    limit = csv.field_size_limit(_MAX_FIELD_CHARACTERS)
    try:
        while True:
            number = before + lines.line_num + 1
            try:
                cells = next(lines)
            except StopIteration:
                return
            except csv.Error as error:
                yield _broken_csv(error, place, number, before + lines.line_num)
                continue
            if not any(cells):
                continue
            if not header:
                header = header_of(cells, place, number)
            elif number <= _ORANGE_HEADER_LINES and _are_orange_types(cells):
                continue
            elif len(cells) != len(header):
                detail = f"{len(cells)} cells where the header has {len(header)}"
                yield Drop(row_id(cells, f"{place}:{number}"), f"{place}:{number}", "ragged_row", detail)
            else:
                yield Record(f"{place}:{number}", dict(zip(header, cells, strict=True)))
    finally:
        csv.field_size_limit(limit)


def _are_orange_types(cells: list[str]) -> bool:
    """Whether a line says what the columns hold, as the second and third of Orange's .tab files do."""
    words = {word for cell in cells for word in cell.lower().split()}
    return bool(words) and all(word in _ORANGE_WORDS or "=" in word for word in words)


def _broken_csv(error: csv.Error, place: str, first: int, last: int) -> Drop:
    if "unexpected end" in str(error):
        raise DataError(
            f"a quoted cell is never closed: everything down to line {last} would be one cell",
            place=f"{place}:{first}",
            hint='close the quote, and write a quote inside a cell as ""',
        )
    return drop_at(f"{place}:{first}", "broken_csv", f"{error} (lines {first} to {last})")


def header_of(cells: Sequence[str], place: str, number: int) -> tuple[str, ...]:
    """The column names in a table's first line.

    Raises:
        DataError: a name twice.
    """
    header = tuple(cell.strip() or f"column {count}" for count, cell in enumerate(cells, start=1))
    twice = sorted(name for name, count in Counter(header).items() if count > 1)
    if twice:
        raise DataError(
            f"the header names a column twice: {', '.join(map(repr, twice[:5]))}",
            place=f"{place}:{number}",
            hint="give every column a name of its own",
        )
    return header


def _read_jsonl(text: str, place: str, opening: Opening) -> Iterator[Item]:
    for number, line in enumerate(text.split("\n"), start=opening.first_line):
        if not line.strip():
            continue
        origin = f"{place}:{number}"
        try:
            yield _object(json.loads(line), origin)
        except (ValueError, RecursionError) as error:
            yield Drop(row_id(line, origin), origin, "broken_json", _json_words(error))


def _read_json(text: str, place: str, opening: Opening) -> Iterator[Item]:
    try:
        whole = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and _starts_as_jsonl(text):
            yield from _read_jsonl(text, place, opening)
            return
        raise DataError(
            f"broken JSON: {error.msg}, column {error.colno}",
            place=f"{place}:{error.lineno}",
            hint="a file with one JSON object a line is named .jsonl",
        ) from error
    except ValueError as error:
        raise DataError(f"broken JSON: {_json_words(error)}", place=place) from error
    for number, value in enumerate(_list_in(whole), start=1):
        yield _object(value, f"{place}:{number}")


def _starts_as_jsonl(text: str) -> bool:
    first = text.strip().split("\n", 1)[0]
    try:
        return isinstance(json.loads(first), dict)
    except ValueError:
        return False


def _list_in(whole: object) -> list[object]:
    """A list of objects, the only list inside one object, or the object alone as one row."""
    if isinstance(whole, list):
        return whole
    if isinstance(whole, dict):
        lists = [v for v in whole.values() if isinstance(v, list) and v and all(isinstance(x, dict) for x in v)]
        rows_of_turns = {"messages", "conversations", "conversation"} & set(whole)
        if len(lists) == 1 and not rows_of_turns:
            return lists[0]
    return [whole]


def _object(value: object, origin: str) -> Item:
    if isinstance(value, dict):
        return Record(origin, value)
    return Drop(
        row_id(value, origin), origin, "not_an_object", f"a JSON {type(value).__name__} where a row was expected"
    )


def _json_words(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg}, column {error.colno}"
    return "nested too deeply" if isinstance(error, RecursionError) else "a number with too many digits"


def _read_txt(text: str, place: str, opening: Opening) -> Iterator[Item]:
    """Documents parted by blank lines; without blank lines, one a line."""
    by_blank = opening.by_blank
    if by_blank is None:
        by_blank = "\n\n" in text.replace("\r\n", "\n").strip()
    first = opening.first_line
    yield from _blocks(text, place, first, starts=lambda line: not by_blank, ends=lambda line: not line.strip())


def _read_md(text: str, place: str, opening: Opening) -> Iterator[Item]:
    """The sections of a Markdown file: each heading starts one, outside fenced code."""
    fenced = False

    def heading(line: str) -> bool:
        nonlocal fenced
        fenced ^= bool(_FENCE.match(line))
        return not fenced and bool(_HEADING.match(line))

    yield from _blocks(text, place, opening.first_line, starts=heading, ends=lambda line: False)


def _blocks(
    text: str, place: str, first_line: int, *, starts: Callable[[str], bool], ends: Callable[[str], bool]
) -> Iterator[Item]:
    block: list[str] = []
    first = first_line
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for number, line in enumerate([*lines, None], start=first_line):
        if line is None or starts(line) or ends(line):
            if any(part.strip() for part in block):
                yield Record(f"{place}:{first}", {"text": "\n".join(block).strip("\n")})
            block, first = [], number
        if line is not None and (block or line.strip()):
            first = number if not block else first
            block.append(line)


def _read_table(source: Path | pa.BufferReader, place: str, container: str) -> Iterator[Item]:
    if isinstance(source, Path):
        _refuse_untabular(source, place, container)
    number, num_bytes = 0, 0
    try:
        with explained_os_errors(f'reading "{place}"'):
            for batch in _TABLES[container](source):
                batch.validate(full=True)  # offsets that point outside would end the process, not raise
                num_bytes += batch.nbytes
                if num_bytes > MAX_BYTES:
                    raise DataError("the file unpacks to more than 4 GiB: refused", place=place, hint="split it")
                for fields in batch.to_pylist():
                    number += 1
                    yield _checked(Record(f"{place}:{number}", fields))
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        words = str(error).split("\n", 1)[0]
        raise DataError(f"not a readable {container} file: {words}", place=place, hint="fetch it again") from error
    if not number:
        raise DataError("the file holds no rows", place=place, hint="name a file that holds rows")


def read_groups(path: Path, place: str, groups: range, *, first_row: int) -> Contents:
    """The records in some row groups of a Parquet file, the first of which has the number `first_row`."""
    items: list[Item] = []
    with explained_os_errors(f'reading "{place}"'), pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_BATCH_ROWS, row_groups=list(groups)):
            number = first_row + len(items)
            items += [_checked(Record(f"{place}:{n}", fields)) for n, fields in enumerate(batch.to_pylist(), number)]
    return Contents("parquet", "", tuple(items))


def _refuse_untabular(path: Path, place: str, container: str) -> None:
    if path.suffix.lower() in COMPRESSED:
        raise DataError(f"a {container} file is not compressed as a whole", place=place, hint="unpack it first")
    if regular(path, place).st_size == 0:
        raise DataError("the file is empty", place=place, hint="name a file that holds rows")


def _parquet_batches(source: Path | pa.BufferReader) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(source) as file:
        yield from file.iter_batches(batch_size=_BATCH_ROWS)


def _arrow_batches(source: Path | pa.BufferReader) -> Iterator[pa.RecordBatch]:
    """Both shapes of Arrow's own format: the file with a footer, and the stream that `datasets` writes."""
    with pa.memory_map(str(source)) if isinstance(source, Path) else source as mapped:
        try:
            file = pa.ipc.open_file(mapped)
        except pa.ArrowInvalid:
            mapped.seek(0)
            yield from pa.ipc.open_stream(mapped)
            return
        for index in range(file.num_record_batches):
            yield file.get_batch(index)


_TEXTS: dict[str, Callable[[str, str, Opening], Iterator[Item]]] = {
    "csv": _read_csv,
    "tsv": _read_tsv,
    "json": _read_json,
    "jsonl": _read_jsonl,
    "txt": _read_txt,
    "md": _read_md,
}
_TABLES: dict[str, Callable[[Any], Iterator[pa.RecordBatch]]] = {"parquet": _parquet_batches, "arrow": _arrow_batches}
# Readers of whole files, as module:function under setsail.data.readers; each is imported when a file needs it.
_READERS = {
    "workbook": "workbook:read",
    "html": "html:read",
    "po": "po:read",
    "wordnet": "wordnet:read",
    "mbox": "mail:read_mbox",
    "eml": "mail:read_eml",
    "pdf": "documents:read_pdf",
    "docx": "documents:read_docx",
    "zip": "archive:read",
    "tar": "archive:read",
}
# What holds running text: in a folder, tables are read rather than these.
_PROSE = {"txt", "md", "html", "mbox", "eml", "pdf", "docx"}
_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".txt": "txt",
    ".md": "md",
    ".xlsx": "workbook",
    ".xls": "workbook",
    ".ods": "workbook",
    ".html": "html",
    ".htm": "html",
    ".po": "po",
    ".noun": "wordnet",
    ".mbox": "mbox",
    ".eml": "eml",
    ".pdf": "pdf",
    ".docx": "docx",
    ".zip": "zip",
    ".tar": "tar",
    ".tgz": "tar",
    ".tbz2": "tar",
    ".txz": "tar",
}
