"""A file's bytes, unpacked when it is gzipped, and bounded: a small file may not become a flood.

What does not live here: what the bytes mean (`containers.py`).
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from setsail.base.errors import DataError
from setsail.base.files import explained_os_errors

MAX_BYTES = 4 << 30
MAX_UNPACKED_BYTES = 1 << 40  # of a file that is unpacked to the disk
MAX_RATIO = 100
# Below this size a high ratio is harmless, and common in small repetitive files.
FREE_BYTES = 4 << 20
_CHUNK_BYTES = 1 << 20


def read_bytes(path: Path, place: str, *, max_bytes: int = MAX_BYTES) -> bytes:
    """The bytes of a file, unpacked when its name ends in .gz.

    Raises:
        DataError: empty, too large, a broken or a hostile gzip.
        SystemRefusal: no permission.
    """
    with explained_os_errors(f'reading "{place}"'):
        num_bytes = path.stat().st_size
        if num_bytes > max_bytes:
            raise _too_large(place, max_bytes)
        data = (
            b"".join(_chunks(path, place, num_bytes, max_bytes)) if path.suffix.lower() == ".gz" else path.read_bytes()
        )
    if not data.strip():
        raise DataError("the file is empty", place=place, hint="name a file that holds rows")
    return data


def unpack_to(path: Path, place: str, folder: Path, *, max_bytes: int = MAX_UNPACKED_BYTES) -> Path:
    """The unpacked copy of a gzipped file in `folder`; one that is there already is whole.

    Raises:
        DataError: a broken or a hostile gzip.
        SystemRefusal: disk full, no permission.
    """
    copy = kept_copy(folder, place)
    if not copy.exists():
        with explained_os_errors(f'unpacking "{place}"'):
            write_copy(copy, _chunks(path, place, path.stat().st_size, max_bytes))
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


def _chunks(path: Path, place: str, num_packed: int, max_bytes: int) -> Iterator[bytes]:
    size = 0
    try:
        with gzip.open(path) as file:
            while chunk := file.read(_CHUNK_BYTES):
                size += len(chunk)
                if size > max_bytes:
                    raise _too_large(place, max_bytes)
                if size > FREE_BYTES and size > MAX_RATIO * num_packed:
                    raise DataError(
                        f"the gzip unpacks to more than {MAX_RATIO} times its size: refused as a decompression bomb",
                        place=place,
                        hint="if you trust it, unpack it yourself and name the unpacked file",
                    )
                yield chunk
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(
            f"the gzip is broken or cut short: {error}", place=place, hint="fetch the file again"
        ) from error


def _too_large(place: str, max_bytes: int) -> DataError:
    return DataError(
        f"the file holds more than {max_bytes / (1 << 30):.3g} GiB", place=place, hint="split it, and name the folder"
    )
