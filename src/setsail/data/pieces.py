"""The pieces that a source is read in, so that a file larger than memory goes through several processes.

A file of lines, a table and a packed file are cut where a record ends; any other file is a piece as a whole. Pieces
depend on the files alone, not on how many processes take them. What does not live here: what a record is
(`containers.py`), which files there are (`sources.py`).
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from setsail.base.files import explained_os_errors
from setsail.data import encoding as encodings
from setsail.data.containers import (
    WHOLE,
    Contents,
    Opening,
    container_of,
    delimiter_of,
    header_of,
    items_in,
    read_groups,
)
from setsail.data.folder import SourceFile
from setsail.data.given import in_part
from setsail.data.sources import read_source_file
from setsail.data.unpack import COMPRESSED, kept_copy, unpack_to, write_copy

PIECE_BYTES = 8 << 20
_BY_LINE = {"jsonl", "csv", "tsv", "txt"}
_READ_BYTES = 1 << 20
# Of a larger file this much is looked at to tell its encoding, unless it is UTF-8 throughout.
_SAMPLE_BYTES = 32 << 20


@dataclass(frozen=True)
class Piece:
    """A file, or bytes `start` to `end` of it; of a Parquet file, row groups. `encoding` is "" where not yet known.

    `number` is 0 for the first piece of a file; `stated` is the file's own encoding where `path` is a copy in UTF-8.
    """

    file: SourceFile
    path: Path
    container: str
    encoding: str = ""
    start: int = 0
    end: int | None = None
    opening: Opening = WHOLE
    number: int = 0
    stated: str = ""

    @property
    def is_whole(self) -> bool:
        return self.end is None


def plan(files: Sequence[SourceFile], *, encoding: str, scratch: Path) -> list[tuple[Piece, ...]]:
    """Every piece of these files in their order, small ones together; what must be unpacked first lies in `scratch`.

    Raises:
        DataError: an unknown or an impossible encoding, a broken or hostile gzip.
        SystemRefusal: no permission, disk full.
    """
    tasks: list[tuple[Piece, ...]] = []
    together: list[Piece] = []
    size = 0
    for file in files:
        for piece in _pieces(file, encoding, scratch):
            num_bytes = _num_bytes(piece)
            if together and size + num_bytes > PIECE_BYTES:
                tasks.append(tuple(together))
                together, size = [], 0
            together.append(piece)
            size += num_bytes
    return [*tasks, tuple(together)] if together else tasks


def read_piece(piece: Piece) -> Iterator[tuple[str, Contents]]:
    """Every record of a piece, by the place that its origins carry; of an archive, each file in it.

    Raises:
        DataError: as `containers.read_file`.
    """
    if piece.end is None:
        yield from read_source_file(piece.file, piece.encoding or "auto")
        return
    place = piece.file.place
    if piece.container == "parquet":
        read = read_groups(piece.path, place, range(piece.start, piece.end), first_row=piece.opening.first_line)
    else:
        with explained_os_errors(f'reading "{place}"'), piece.path.open("rb") as file:
            file.seek(piece.start)
            data = file.read(piece.end - piece.start)
        decoded = encodings.decode(data, encoding=piece.encoding, place=place)
        items = items_in(decoded.text, place, piece.container, piece.opening)
        read = Contents(piece.container, piece.stated or piece.encoding, tuple(items), decoded.num_invalid_bytes)
    yield place, replace(read, items=in_part(read.items, piece.file.part))


def _num_bytes(piece: Piece) -> int:
    with explained_os_errors(f'reading "{piece.file.place}"'):
        whole = piece.path.stat().st_size
    return whole if piece.end is None or piece.container == "parquet" else piece.end - piece.start


def _pieces(file: SourceFile, encoding: str, scratch: Path) -> Iterator[Piece]:
    container = container_of(file.path) or ""
    path = file.path
    piece = Piece(file, path, container, "" if encoding == "auto" else encoding)
    if container == "parquet":
        yield from _row_groups(piece)
        return
    if container not in _BY_LINE or _num_bytes(piece) <= PIECE_BYTES // (8 if path.suffix.lower() in COMPRESSED else 1):
        yield piece
        return
    if path.suffix.lower() in COMPRESSED:
        path = unpack_to(path, file.place, scratch)
    known = encoding if encoding != "auto" else _encoding_of(path, file.place)
    if codecs.lookup(known).name.startswith("utf-16"):
        piece = replace(piece, stated=known)
        path, known = _as_utf8(path, known, file.place, scratch), "utf-8"
    with explained_os_errors(f'reading "{file.place}"'):
        yield from _CUT[container](replace(piece, path=path, encoding=known))


def _row_groups(piece: Piece) -> Iterator[Piece]:
    """Neighbouring row groups of together about PIECE_BYTES; a file that cannot be read stays whole."""
    try:
        with pq.ParquetFile(piece.path) as file:
            groups = [file.metadata.row_group(index) for index in range(file.num_row_groups)]
            sizes = [(group.total_byte_size, group.num_rows) for group in groups]
    except (pa.ArrowException, OSError, ValueError, OverflowError):  # `read_file` meets it again and words it
        yield piece
        return
    if sum(size for size, _ in sizes) <= PIECE_BYTES:
        yield piece
        return
    start, first_row, num_bytes, num_rows = 0, 1, 0, 0
    for index, (size, rows) in enumerate(sizes):
        num_bytes, num_rows = num_bytes + size, num_rows + rows
        if num_bytes >= PIECE_BYTES or index == len(sizes) - 1:
            yield replace(piece, start=start, end=index + 1, opening=Opening(first_row), number=start)
            start, first_row, num_bytes, num_rows = index + 1, first_row + num_rows, 0, 0


def _encoding_of(path: Path, place: str) -> str:
    """UTF-8 where all of the file is, else what a part of it tells."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with explained_os_errors(f'reading "{place}"'), path.open("rb") as file:
        sample = file.read(_SAMPLE_BYTES)
        file.seek(0)
        try:
            while chunk := file.read(_READ_BYTES):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
            return encodings.marked(sample) or "utf-8"
        except UnicodeDecodeError:
            marked = encodings.marked(sample)
            if marked:
                return marked
            cut = sample[: sample.rfind(b"\n") + 1] or sample
            return encodings.decode(cut, encoding="auto", place=place).encoding


def _as_utf8(path: Path, encoding: str, place: str, scratch: Path) -> Path:
    """A copy in UTF-8, for an encoding in which a byte 0x0A need not end a line."""
    copy = kept_copy(scratch, f"{place} in utf-8")
    if not copy.exists():
        with (
            explained_os_errors(f'reading "{place}"'),
            path.open("r", encoding=encoding, errors="surrogateescape", newline="") as file,
        ):
            texts = iter(lambda: file.read(_READ_BYTES), "")
            write_copy(copy, (text.encode("utf-8", "surrogateescape") for text in texts))
    return copy


def _cut_at_lines(piece: Piece, *, blank: bool, opening: Opening) -> Iterator[Piece]:
    """Pieces that end behind a line, or behind a blank one."""
    start = place = 0
    first_line = line = 1
    with piece.path.open("rb") as file:
        for text in file:
            place += len(text)
            line += _num_lines(text)
            if place - start >= PIECE_BYTES and (not blank or not text.strip()):
                yield replace(
                    piece, start=start, end=place, opening=replace(opening, first_line=first_line), number=start
                )
                start, first_line = place, line
    if place > start:
        yield replace(piece, start=start, end=place, opening=replace(opening, first_line=first_line), number=start)


def _num_lines(text: bytes) -> int:
    return text.count(b"\n") + text.count(b"\r") - text.count(b"\r\n")


def _cut_jsonl(piece: Piece) -> Iterator[Piece]:
    start, first_line = 0, 1
    with piece.path.open("rb") as file:
        while data := file.read(PIECE_BYTES):
            data += file.readline()
            end = start + len(data)
            yield replace(piece, start=start, end=end, opening=Opening(first_line), number=start)
            start, first_line = end, first_line + data.count(b"\n")


def _cut_txt(piece: Piece) -> Iterator[Piece]:
    by_blank, written = False, False
    with piece.path.open("rb") as file:
        blank = False
        for line in file:
            if not line.strip(b"\r\n"):
                blank = written
            elif blank:
                by_blank = True
                break
            else:
                written = True
    yield from _cut_at_lines(piece, blank=by_blank, opening=Opening(by_blank=by_blank))


def _cut_table(piece: Piece) -> Iterator[Piece]:
    """Pieces that end behind a record, as the csv reader itself sees them: a quoted cell may hold line ends."""
    with piece.path.open("rb") as file:
        head = file.read(_READ_BYTES).decode(piece.encoding, "surrogateescape")
    delimiter = "\t" if piece.container == "tsv" else delimiter_of(head)
    lines = _Lines(piece)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    limit = csv.field_size_limit(1 << 28)
    opening = Opening(delimiter=delimiter)
    start = 0
    try:
        for cells in _records(reader):
            if not opening.header and any(cells):
                opening = replace(opening, header=header_of(cells, piece.file.place, reader.line_num))
            if lines.at_end_of_line and lines.place - start >= PIECE_BYTES:
                yield _piece_of_table(piece, start, lines.place, opening)
                start, opening = lines.place, replace(opening, first_line=reader.line_num + 1)
    finally:
        csv.field_size_limit(limit)
    if lines.place > start:
        yield _piece_of_table(piece, start, lines.place, opening)


def _piece_of_table(piece: Piece, start: int, end: int, opening: Opening) -> Piece:
    # The first piece reads the header itself.
    return replace(
        piece, start=start, end=end, opening=opening if start else Opening(delimiter=opening.delimiter), number=start
    )


def _records(reader: Iterator[list[str]]) -> Iterator[Sequence[str]]:
    """What a csv reader gives; where it refuses a record, nothing, and it goes on behind it."""
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield ()


class _Lines:
    """The lines of a table as the csv reader wants them, and how many bytes have been given to it."""

    def __init__(self, piece: Piece) -> None:
        self.place = 0
        self.at_end_of_line = True
        self._lines = self._read(piece)

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        return next(self._lines)

    def _read(self, piece: Piece) -> Iterator[str]:
        with piece.path.open("rb") as file:
            for line in file:
                text = line.decode(
                    piece.encoding if self.place == 0 else _without_mark(piece.encoding), "surrogateescape"
                )
                self.place += len(line)
                if "\r" not in text[:-2]:
                    yield text
                    continue
                parts = list(io.StringIO(text, newline=""))
                for number, part in enumerate(parts, start=1):
                    self.at_end_of_line = number == len(parts)
                    yield part


def _without_mark(encoding: str) -> str:
    return "utf-8" if encoding == "utf-8-sig" else encoding


_CUT = {"jsonl": _cut_jsonl, "txt": _cut_txt, "csv": _cut_table, "tsv": _cut_table}
