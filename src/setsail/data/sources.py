"""Where rows come from: a file, a folder, a glob, the files of a published package, or `docstrings:PACKAGE`.

Finds the files of a source, reads them, and says cheaply what the source's identity is. What does not live here: file
formats (`containers.py`, `formats.py`). The invariant: origins carry names relative to the source, never the place of
a folder on this machine, so that the same data has the same ids everywhere.
"""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from setsail.base.errors import DataError, did_you_mean
from setsail.base.files import explained_os_errors, sha256_of
from setsail.base.recipe import Data
from setsail.data.containers import Contents, container_of, read_file
from setsail.data.package_source import PREFIX, package_fingerprint, read_package
from setsail.data.registry_source import is_registry, unpacked
from setsail.data.row import Drop

_PROSE = {"txt", "md"}
BROKEN = {"broken_json", "broken_csv", "ragged_row", "invalid_bytes", "not_an_object"}
MAX_BROKEN_FRACTION = 0.1


@dataclass(frozen=True)
class SourceFile:
    """A file of a source and the name that origins give it."""

    path: Path
    place: str


@dataclass(frozen=True)
class Found:
    """The files of a source, and the names of those that lie beside them and are not read."""

    files: tuple[SourceFile, ...]
    left_out: tuple[str, ...] = ()


def is_package(data: Data) -> bool:
    """Whether the source is a package's documentation, so that its questions are made by rule."""
    return data.source.startswith(PREFIX)


def has_files(data: Data) -> bool:
    """Whether the source is made of files, which can be read in pieces."""
    return not is_package(data)


def read(data: Data, base_dir: Path) -> Iterator[tuple[str, Contents]]:
    """Each part of a source by its place, with every record in it.

    Raises:
        DataError: nothing is there, nothing can be read, or too much of it is broken.
        SystemRefusal: no permission.
    """
    if is_package(data):
        yield data.source, read_package(data.source)
        return
    for file in find(data.source, base_dir).files:
        contents = read_file(file.path, file.place, encoding=data.encoding)
        _refuse_mostly_broken(contents, file.place)
        yield file.place, contents


def not_read(data: Data, base_dir: Path) -> tuple[str, ...]:
    """One sentence on the files that lie in the source and are not read; nothing when there are none."""
    left = () if is_package(data) else find(data.source, base_dir).left_out
    return (f"not read: {', '.join(left[:5])}" + (", …" if len(left) > 5 else ""),) if left else ()


def fingerprint(data: Data, base_dir: Path) -> str:
    """64 hex digits that change whenever the source's rows could."""
    lists = [name for name in (*data.keep_out, data.forget) if name is not None]
    if is_package(data) and not lists:
        return package_fingerprint(data.source)
    digest = hashlib.sha256(package_fingerprint(data.source).encode() if is_package(data) else b"")
    for name in lists:
        path = base_dir / Path(name).expanduser()
        digest.update(f"{name}\0{sha256_of(path) if path.is_file() else None}\n".encode())
    if is_package(data):
        return digest.hexdigest()
    for file in find(data.source, base_dir).files:
        with explained_os_errors(f'reading "{file.place}"'):
            digest.update(f"{file.place}\0{sha256_of(file.path)}\n".encode())
    return digest.hexdigest()


def find(source: str, base_dir: Path) -> Found:
    """The files that a source names, in the order of their names.

    Raises:
        DataError: none; with the nearest name that does exist.
    """
    if "://" in source:
        raise DataError(
            f'data.source "{source}" is a web address',
            hint="fetch the file first, then name it: data.source: file.jsonl",
        )
    path = unpacked(source) if is_registry(source) else base_dir / Path(source).expanduser()
    with explained_os_errors(f'looking for "{source}"'):
        if path.is_dir():
            return _in_folder(path, source)
        if path.is_file():
            return Found((SourceFile(path, path.name),))
        if glob.has_magic(source):
            return _matching(path, source)
    raise DataError(f'data.source "{source}" does not exist', place=str(path.parent), hint=_nearest(path))


def _nearest(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f'the folder "{folder}" does not exist either'
    names = [entry.name for entry in folder.iterdir() if entry.is_dir() or container_of(entry)]
    return did_you_mean(path.name, names) if names else f'no data file lies in "{folder}"'


def _in_folder(folder: Path, source: str) -> Found:
    every: list[SourceFile] = []
    for place, names, files in os.walk(folder, onerror=_raise):
        names[:] = sorted(name for name in names if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                path = Path(place) / name
                every.append(SourceFile(path, path.relative_to(folder).as_posix()))
    every.sort(key=lambda file: file.place)
    readable = [file for file in every if container_of(file.path)]
    tables = [file for file in readable if container_of(file.path) not in _PROSE]
    # A folder of tables often holds a README or a licence too: prose is read only where there is nothing else.
    chosen = tables or readable
    if not chosen:
        lying = ", ".join(file.place for file in every[:5]) or "nothing"
        raise DataError(
            f'the folder "{source}" holds no data file', place=str(folder), hint=f"found: {lying}; known: csv, jsonl, …"
        )
    taken = set(chosen)
    return Found(tuple(chosen), tuple(file.place for file in every if file not in taken))


def _raise(error: OSError) -> None:
    raise error


def _matching(pattern: Path, source: str) -> Found:
    paths = [Path(name) for name in sorted(glob.glob(str(pattern), recursive=True)) if os.path.isfile(name)]
    readable = [path for path in paths if container_of(path)]
    if not readable:
        hint = f"it matches {len(paths)} files of other kinds" if paths else "it matches nothing"
        raise DataError(f'data.source "{source}" names no data file', place=str(pattern.parent), hint=hint)
    common = Path(os.path.commonpath([path.parent for path in readable]))
    files = tuple(SourceFile(path, path.relative_to(common).as_posix()) for path in readable)
    left = tuple(path.name for path in paths if not container_of(path))
    return Found(files, left)


def _refuse_mostly_broken(contents: Contents, place: str) -> None:
    broken = [item for item in contents.items if isinstance(item, Drop) and item.reason in BROKEN]
    if len(broken) > MAX_BROKEN_FRACTION * len(contents.items):
        first = broken[0]
        told = f"{first.reason} ({first.detail})"
        raise mostly_broken(len(broken), len(contents.items), place, first.origin, told)


def mostly_broken(num_broken: int, num_rows: int, place: str, origin: str, first: str) -> DataError:
    """The refusal of a file of which too much is broken, first at `origin`."""
    return DataError(
        f"{num_broken:,} of {num_rows:,} rows of {place} are broken; the first: {first}",
        place=origin,
        hint="mend the file: more than a tenth is broken, so that what is left may not be what you meant",
    )
