"""Where rows come from: a file, a folder, a glob, a package's files, a data set of the hub, or `docstrings:PACKAGE`.

Reads what a source names, and says cheaply what the source's identity is. What does not live here: which files lie in
a folder (`folder.py`), file formats (`containers.py`, `formats.py`). The invariant: origins carry names relative to the
source, never the place of a folder on this machine, so that the same data has the same ids everywhere.
"""

from __future__ import annotations

import glob
import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from setsail.base.errors import DataError, did_you_mean
from setsail.base.files import explained_os_errors, sha256_of
from setsail.base.recipe_data import Data
from setsail.data import hub_source
from setsail.data.containers import Contents, container_of, read_file
from setsail.data.folder import Found, SourceFile, file_of, in_folder, matching, twin_of
from setsail.data.given import given_split, in_part
from setsail.data.package_source import PREFIX, package_fingerprint, read_package
from setsail.data.readers import archive
from setsail.data.registry_source import is_registry, unpacked
from setsail.data.row import Drop
from setsail.data.unpack import read_bytes

__all__ = ["Found", "SourceFile", "files_of", "find", "fingerprint", "given_split", "is_package", "not_read", "read"]

_ARCHIVES = {"zip", "tar"}
BROKEN = {"broken_json", "broken_csv", "broken_mail", "ragged_row", "invalid_bytes", "not_an_object"}
MAX_BROKEN_FRACTION = 0.1


def is_package(data: Data) -> bool:
    """Whether the source is a package's documentation, so that its questions are made by rule."""
    return data.source.startswith(PREFIX)


def files_of(data: Data, base_dir: Path, scratch: Path) -> tuple[SourceFile, ...] | None:
    """The files that can be read in pieces, copies in `scratch` where they lie elsewhere; None where there are none.

    Raises:
        DataError: nothing is there, or it cannot be fetched.
        SystemRefusal: no permission, disk full.
    """
    if is_package(data):
        return None
    if is_hub(data, base_dir):
        return hub_source.fetch(data.source, scratch)
    return find(data.source, base_dir).files


def is_hub(data: Data, base_dir: Path) -> bool:
    """Whether the source is a data set of the hub: named so, or owner/name where nothing of that name lies here."""
    if data.source.startswith(hub_source.PREFIX):
        return True
    path = base_dir / Path(data.source).expanduser()
    return (
        hub_source.could_be(data.source) and not path.exists() and not path.parent.exists() and not container_of(path)
    )


def read(data: Data, base_dir: Path) -> Iterator[tuple[str, Contents]]:
    """Each part of a source by its place, with every record in it; the files of an archive are parts of their own.

    Raises:
        DataError: nothing is there, nothing can be read, or too much of it is broken.
        SystemRefusal: no permission.
    """
    if is_package(data):
        yield data.source, read_package(data.source)
        return
    if is_hub(data, base_dir):
        with tempfile.TemporaryDirectory() as folder:
            for file in hub_source.fetch(data.source, Path(folder)):
                yield from read_source_file(file, data.encoding)
        return
    for file in find(data.source, base_dir).files:
        for place, contents in read_source_file(file, data.encoding):
            _refuse_mostly_broken(contents, place)
            yield place, contents


def read_source_file(file: SourceFile, encoding: str) -> Iterator[tuple[str, Contents]]:
    """The parts of one file by their places: itself, or the files of an archive.

    Raises:
        DataError: it cannot be read.
    """
    if container_of(file.path) in _ARCHIVES:
        inside = archive.parts(read_bytes(file.path, file.place), file.place, encoding=encoding)
    else:
        inside = iter([(file.place, read_file(file.path, file.place, encoding=encoding))])
    for place, contents in inside:
        yield place, replace(contents, items=in_part(contents.items, file.part))


def not_read(data: Data, base_dir: Path) -> tuple[str, ...]:
    """One sentence on the files that lie in the source and are not read; nothing when there are none."""
    if is_hub(data, base_dir) and not data.source.startswith(hub_source.PREFIX):
        return (f'no "{data.source}" lies here: read from the hub, as data.source: {hub_source.PREFIX}{data.source}',)
    left = () if is_package(data) or is_hub(data, base_dir) else find(data.source, base_dir).left_out
    return (f"not read: {', '.join(left[:5])}" + (", …" if len(left) > 5 else ""),) if left else ()


def fingerprint(data: Data, base_dir: Path) -> str:
    """64 hex digits that change whenever the source's rows could."""
    lists = [name for name in (*data.keep_out, data.forget, data.augment.lexicon) if name is not None]
    named = ""
    if is_package(data):
        named = package_fingerprint(data.source)
    elif is_hub(data, base_dir):
        named = hub_source.fingerprint(data.source)
    if named and not lists:
        return named
    digest = hashlib.sha256(named.encode())
    for name in lists:
        path = base_dir / Path(name).expanduser()
        digest.update(f"{name}\0{sha256_of(path) if path.is_file() else None}\n".encode())
    if named:
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
        if not path.exists() and not glob.has_magic(source):
            path = twin_of(path) or path
        if path.is_dir():
            return in_folder(path, source)
        if path.exists():
            return Found((file_of(path, source),))
        if glob.has_magic(source):
            return matching(path, source)
    raise DataError(f'data.source "{source}" does not exist', place=str(path.parent), hint=_nearest(path))


def _nearest(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f'the folder "{folder}" does not exist either'
    names = [entry.name for entry in folder.iterdir() if entry.is_dir() or container_of(entry)]
    return did_you_mean(path.name, names) if names else f'no data file lies in "{folder}"'


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
