"""A file's bytes, unpacked when it is compressed, and bounded: a small file may not become a flood.

Only regular files are opened: a pipe would be waited for without end. What does not live here: what the bytes mean
(`containers.py`), and the members of archives (`readers/archive.py`).
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from setsail.base.errors import DataError
from setsail.base.files import explained_os_errors

MAX_BYTES = 4 << 30
MAX_UNPACKED_BYTES = 1 << 40  # of a file that is unpacked to the disk
MAX_RATIO = 100
# Below this size a high ratio is harmless, and common in small repetitive files.
FREE_BYTES = 4 << 20
_CHUNK_BYTES = 1 << 20
# What unpacks a file, by the end of its name.
_OPENERS: dict[str, Callable[[Any], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zst": lambda file: pa.CompressedInputStream(file, "zstd"),
}
_OPENERS |= {".tgz": gzip.open, ".tbz2": bz2.open, ".txz": lzma.open}
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")


def read_bytes(path: Path, place: str, *, max_bytes: int = MAX_BYTES) -> bytes:
    """The bytes of a file, unpacked when its name ends in .gz, .bz2, .xz or .zst.

    Raises:
        DataError: empty, too large, not a file, changed while it was read; broken or hostile where it is compressed.
        SystemRefusal: no permission.
    """
    with explained_os_errors(f'reading "{place}"'):
        num_bytes = regular(path, place).st_size
        if num_bytes > max_bytes:
            raise _too_large(place, max_bytes)
        with path.open("rb") as file:
            before = os.fstat(file.fileno())
            data = file.read(num_bytes + 1)
            after = os.fstat(file.fileno())
    if len(data) != num_bytes or (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        words = f"the file changed while it was read: it had {num_bytes:,} bytes"
        raise DataError(words, place=place, hint="wait until it is written, or name a copy")
    data = unpacked(data, path.name, place, max_bytes=max_bytes)
    if not data.strip():
        raise DataError("the file is empty", place=place, hint="name a file that holds rows")
    return data


def unpack_to(path: Path, place: str, folder: Path, *, max_bytes: int = MAX_UNPACKED_BYTES) -> Path:
    """The unpacked copy of a compressed file in `folder`; one that is there already is whole.

    Raises:
        DataError: a broken or a hostile file.
        SystemRefusal: disk full, no permission.
    """
    copy = kept_copy(folder, place)
    if not copy.exists():
        with explained_os_errors(f'unpacking "{place}"'):
            num_packed = regular(path, place).st_size
            with path.open("rb") as packed:
                write_copy(copy, _chunks(packed, path.name, place, num_packed, max_bytes))
    return copy


def kept_copy(folder: Path, place: str) -> Path:
    """Where in `folder` the copy of a file lies."""
    return folder / hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def write_copy(copy: Path, chunks: Iterable[bytes]) -> None:
    """Writes a copy beside its place and renames it: one that is there is whole."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    draft = copy.with_suffix(".partial")
    with draft.open("wb") as target:
        for chunk in chunks:
            target.write(chunk)
    draft.rename(copy)


def unpacked(data: bytes, name: str, place: str, *, max_bytes: int = MAX_BYTES) -> bytes:
    """Bytes as they are, or unpacked when the name says that they are compressed.

    Raises:
        DataError: broken, too large, or so much larger than packed that it is taken for a bomb.
    """
    if Path(name).suffix.lower() not in _OPENERS:
        return data
    return b"".join(_chunks(io.BytesIO(data), name, place, len(data), max_bytes))


def _chunks(packed: IO[bytes], name: str, place: str, num_packed: int, max_bytes: int) -> Iterator[bytes]:
    suffix = Path(name).suffix.lower()
    kind = {".gz": "gzip", ".tgz": "gzip"}.get(suffix, suffix.lstrip("."))
    size = 0
    try:
        with _OPENERS[suffix](packed) as file:
            while chunk := file.read(_CHUNK_BYTES):
                size += len(chunk)
                if size > max_bytes:
                    raise _too_large(place, max_bytes)
                if size > FREE_BYTES and size > MAX_RATIO * num_packed:
                    raise DataError(
                        f"the {kind} unpacks to more than {MAX_RATIO} times its size: refused as a decompression bomb",
                        place=place,
                        hint="if you trust it, unpack it yourself and name the unpacked file",
                    )
                yield chunk
    except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError, MemoryError) as error:
        words = f"the {kind} is broken or cut short: {str(error) or type(error).__name__}"
        raise DataError(words, place=place, hint="fetch the file again") from error


def regular(path: Path, place: str) -> os.stat_result:
    """What the system says of a regular file.

    Raises:
        DataError: it is a pipe or the like, which would be waited for or never end.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise DataError("it is a pipe, a device or a socket, not a file", place=place, hint="save it to a file first")
    return found


def _too_large(place: str, max_bytes: int) -> DataError:
    return DataError(
        f"the file holds more than {max_bytes / (1 << 30):.3g} GiB", place=place, hint="split it, and name the folder"
    )
