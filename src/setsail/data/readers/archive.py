"""zip and tar: each file inside is read in place, by its own name, as if it lay in a folder.

Nothing is unpacked to the disk, so that names that lead elsewhere lead nowhere. The bounds hold for an archive and all
that is nested in it: `MAX_MEMBERS` files, `unpack.MAX_BYTES` in all, each at most `unpack.MAX_RATIO` times its packed
size, `MAX_DEPTH` archives deep. What does not live here: what a file inside holds (`containers.py`). The invariant:
every member is read, is a drop, or stops the reading with an error; hidden ones are left alone, as in a folder.
"""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from lzma import LZMAError

from setsail.base.errors import DataError
from setsail.data.containers import Contents, Item, container_named, content_of, worth_reading
from setsail.data.folder import place_of
from setsail.data.given import given_parts, in_part
from setsail.data.row import Drop, drop_at
from setsail.data.unpack import FREE_BYTES, MAX_BYTES, MAX_RATIO, unpacked

MAX_DEPTH = 2
MAX_MEMBERS = 100_000
_HINT = "if you trust it, unpack it yourself and name the folder"
# What zipfile, tarfile and the decompressors raise on damaged bytes; all of it is read from memory, never from a disk.
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, LZMAError, struct.error)
_BROKEN += (EOFError, OSError, ValueError, OverflowError, RuntimeError)


@dataclass
class Budget:
    """What an archive may still give, counted down over everything nested in it."""

    num_bytes: int = MAX_BYTES
    num_members: int = MAX_MEMBERS

    def spend(self, num_bytes: int, place: str) -> None:
        self.num_bytes -= num_bytes
        self.num_members -= 1
        if self.num_bytes < 0:
            raise DataError(f"the archive unpacks to more than {MAX_BYTES >> 30} GiB: refused", place=place, hint=_HINT)
        if self.num_members < 0:
            raise DataError(f"the archive holds more than {MAX_MEMBERS:,} files: refused", place=place, hint=_HINT)


@dataclass(frozen=True)
class _Member:
    """A plain file of an archive; its bytes are unpacked when they are asked for."""

    name: str
    num_bytes: int
    read: Callable[[], bytes]


def read(data: bytes, place: str, *, encoding: str = "auto") -> Iterator[Item]:
    """Every record of every file inside, with origins such as "archive.zip/inner.csv:7".

    Raises:
        DataError: as `parts`.
    """
    for _, contents in parts(data, place, encoding=encoding):
        yield from contents.items


def parts(
    data: bytes, place: str, *, encoding: str = "auto", budget: Budget | None = None
) -> Iterator[tuple[str, Contents]]:
    """Each file inside by its place, with every record in it; what is not read is a part of drops.

    Raises:
        DataError: broken, locked or hostile, or a file inside is; it holds nothing that can be read.
    """
    yield from _parts(data, place, encoding, budget or Budget(), 1)


def _parts(data: bytes, place: str, encoding: str, budget: Budget, depth: int) -> Iterator[tuple[str, Contents]]:
    if depth > MAX_DEPTH:
        raise DataError(f"archives nested more than {MAX_DEPTH} deep: refused", place=place, hint=_HINT)
    members, drops = _members(data, place, budget)
    chosen = worth_reading([member.name for member in members])
    if not chosen:
        lying = ", ".join(member.name for member in members[:5]) or "nothing"
        raise DataError("the archive holds no data file", place=place, hint=f"found: {lying}")
    given = given_parts(member.name for member in members if member.name in chosen)
    for member in members:
        inside = f"{place}/{member.name}"
        if member.name not in chosen:
            drops.append(drop_at(inside, "not_a_data_file", "of a kind that is not read, or prose beside tables"))
            continue
        content = _unpacked(member, inside, budget)
        if container_named(member.name) in ("zip", "tar"):
            yield from _parts(content, inside, encoding, budget, depth + 1)
        elif not content.strip():
            drops.append(drop_at(inside, "empty_text", "an empty file in an archive"))
        else:
            contents = content_of(content, member.name, inside, encoding=encoding)
            yield inside, replace(contents, items=in_part(contents.items, given[member.name]))
    if drops:
        yield place, Contents("archive", "", tuple(drops))


def _unpacked(member: _Member, place: str, budget: Budget) -> bytes:
    try:
        packed = member.read()
    except _BROKEN as error:
        raise _broken(error, place) from error
    content = unpacked(packed, member.name, place, max_bytes=max(0, budget.num_bytes))
    budget.num_bytes -= len(content) - len(packed)
    return content


def _members(data: bytes, place: str, budget: Budget) -> tuple[list[_Member], list[Drop]]:
    """The plain files inside under names that occur once, in their order, and what else lies there."""
    try:
        # A tar may end in a zip, which would be taken for the whole.
        if data[257:262] != b"ustar" and zipfile.is_zipfile(io.BytesIO(data)):
            members, drops = _in_zip(data, place, budget)
        else:
            members, drops = _in_tar(data, place, budget)
    except _BROKEN as error:
        raise _broken(error, place) from error
    seen: dict[str, int] = {}
    named = []
    for member in members:
        seen[member.name] = seen.get(member.name, 0) + 1
        again = seen[member.name]
        named.append(member if again == 1 else _Member(f"{again}/{member.name}", member.num_bytes, member.read))
    return sorted(named, key=lambda member: member.name), drops


def _in_zip(data: bytes, place: str, budget: Budget) -> tuple[list[_Member], list[Drop]]:
    file = zipfile.ZipFile(io.BytesIO(data))
    members: list[_Member] = []
    num_packed = 0
    for info in file.infolist():
        if info.is_dir():
            continue
        name = place_of(_name(info))
        inside = f"{place}/{name}"
        if info.flag_bits & 1:
            raise DataError("the archive has a password", place=inside, hint="make it again without one")
        if info.file_size > FREE_BYTES and info.file_size > MAX_RATIO * info.compress_size:
            words = f"a file inside unpacks to more than {MAX_RATIO} times its size: refused as a decompression bomb"
            raise DataError(words, place=inside, hint=_HINT)
        num_packed += info.compress_size
        if num_packed > len(data):
            raise DataError(
                "files inside the archive overlap: refused as a decompression bomb", place=inside, hint=_HINT
            )
        budget.spend(info.file_size, place)
        if not _is_hidden(name):
            members.append(_Member(name, info.file_size, lambda info=info: file.read(info)))
    return members, []


def _name(info: zipfile.ZipInfo) -> str:
    """A member's name. Without the mark for UTF-8 it is in the writer's own encoding: on a Chinese Windows, GBK."""
    if info.flag_bits & 0x800 or info.filename.isascii():
        return info.filename
    for encoding in ("utf-8", "gb18030"):
        try:
            return info.filename.encode("cp437").decode(encoding)
        except UnicodeError:
            continue
    return info.filename


def _in_tar(data: bytes, place: str, budget: Budget) -> tuple[list[_Member], list[Drop]]:
    members: list[_Member] = []
    drops: list[Drop] = []
    file = tarfile.TarFile(fileobj=io.BytesIO(data))
    for info in file:
        name = place_of(info.name)
        if info.isdir():
            continue
        budget.spend(info.size if info.isfile() else 0, place)
        if not info.isfile():
            drops.append(
                drop_at(f"{place}/{name}", "not_a_file", "a link" if info.islnk() or info.issym() else "a device")
            )
        elif info.issparse():
            raise DataError("a file inside has holes: refused", place=f"{place}/{name}", hint=_HINT)
        elif not _is_hidden(name):
            members.append(_Member(name, info.size, lambda info=info: _extracted(file, info)))
    return members, drops


def _extracted(file: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    plain = file.extractfile(info)
    assert plain is not None, "only plain files are asked for"
    content = plain.read()
    if len(content) != info.size:
        raise EOFError("the archive ends inside this file")
    return content


def _is_hidden(name: str) -> bool:
    """Whether a file is left alone as hidden files of a folder are: .DS_Store, and what macOS adds to a zip."""
    return any((part.startswith(".") and part not in (".", "..")) or part == "__MACOSX" for part in name.split("/"))


def _broken(error: Exception, place: str) -> DataError:
    words = str(error).split("\n", 1)[0] or type(error).__name__
    return DataError(f"the archive is broken: {words}", place=place, hint="fetch it again")
