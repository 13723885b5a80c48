"""The files of a source: which lie in a folder or fit a pattern, which of them are read, and what they are called.

What does not live here: what a source may be (`sources.py`). The invariants: a place is text that can be written and
shown anywhere, whatever bytes a name holds; nothing is opened that is not a regular file; what is left out is named.
"""

from __future__ import annotations

import glob
import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from setsail.base.errors import DataError
from setsail.data.containers import container_of, worth_reading
from setsail.data.given import given_parts

_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


@dataclass(frozen=True)
class SourceFile:
    """A file of a source, the name that origins give it, and the part that its name gives its rows to, or ""."""

    path: Path
    place: str
    part: str = ""


@dataclass(frozen=True)
class Found:
    """The files of a source, and the names of those that lie beside them and are not read."""

    files: tuple[SourceFile, ...]
    left_out: tuple[str, ...] = ()


def place_of(name: str) -> str:
    r"""A name as text: one way to write each letter (NFC), and no bytes or characters that cannot be shown.

    >>> place_of("re\u0301sume\u0301.csv"), place_of("a\udcff\n.csv")
    ('résumé.csv', 'a\\xff\\n.csv')
    """
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    shown = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return unicodedata.normalize("NFC", "".join(shown))


def in_folder(folder: Path, source: str) -> Found:
    """The files under a folder, in the order of their names; links to folders are not followed.

    Raises:
        DataError: none of them can be read.
    """
    every: list[Path] = []
    left: list[str] = []
    for place, names, files in os.walk(folder, onerror=_raise):
        names[:] = sorted(name for name in names if not name.startswith("."))
        links = [Path(place) / name for name in names if (Path(place) / name).is_symlink()]
        left += [f"{place_of(str(link.relative_to(folder)))} (a link to a folder)" for link in links]
        every += [Path(place) / name for name in files if not name.startswith(".")]
    found = _chosen(sorted(every, key=lambda path: path.as_posix()), folder, left)
    if not found.files:
        lying = ", ".join(found.left_out[:5]) or "nothing"
        raise DataError(
            f'the folder "{source}" holds no data file', place=str(folder), hint=f"found: {lying}; known: csv, jsonl, …"
        )
    return found


def matching(pattern: Path, source: str) -> Found:
    """The files that fit a pattern, named from the folder that they have in common.

    Raises:
        DataError: none, or none of them can be read.
    """
    paths = [Path(name) for name in sorted(glob.glob(str(pattern), recursive=True))]
    readable = [path for path in paths if container_of(path) and _kind(path) == ""]
    if not readable:
        hint = f"it matches {len(paths)} files of other kinds" if paths else "it matches nothing"
        raise DataError(f'data.source "{source}" names no data file', place=str(pattern.parent), hint=hint)
    common = Path(os.path.commonpath([path.parent for path in readable]))
    left = [place_of(path.name) for path in paths if path not in set(readable)]
    return Found(_named(readable, common), tuple(left))


def file_of(path: Path, source: str) -> SourceFile:
    """A single file that a source names. Raises: DataError for a pipe, a device or the like."""
    kind = _kind(path)
    if kind:
        words = f'data.source "{source}" is {kind}, not a file'
        raise DataError(words, place=str(path.parent), hint="save it to a file first, then name the file")
    return SourceFile(path, place_of(path.name))


def twin_of(path: Path) -> Path | None:
    """The file that has the same name in another Unicode form, as a name typed on one system and made on another."""
    if not path.parent.is_dir():
        return None
    wanted = unicodedata.normalize("NFC", path.name)
    return next((entry for entry in path.parent.iterdir() if unicodedata.normalize("NFC", entry.name) == wanted), None)


def _chosen(paths: Sequence[Path], folder: Path, left: Iterable[str]) -> Found:
    """What is read of these: plain files of known kinds; prose only where no table lies; given parts alone."""
    plain = [path for path in paths if _kind(path) == ""]
    wanted = worth_reading(path.name for path in plain)
    chosen = [path for path in plain if path.name in wanted]
    taken = set(chosen)
    others = []
    for path in paths:
        if path not in taken:
            kind = _kind(path)
            others.append(place_of(path.relative_to(folder).as_posix()) + (f" ({kind})" if kind else ""))
    files = _named(chosen, folder)
    if any(file.part for file in files):  # beside train and test lie lists of labels, cards and the like
        others += [f"{file.place} (beside given parts)" for file in files if not file.part]
        files = tuple(file for file in files if file.part)
    return Found(files, (*others, *left))


def _named(paths: Sequence[Path], folder: Path) -> tuple[SourceFile, ...]:
    """The files with their places and parts; two names that only differ in Unicode form are told apart by a number."""
    seen: Counter[str] = Counter()
    places = []
    for path in paths:
        place = place_of(path.relative_to(folder).as_posix())
        seen[place] += 1
        places.append(place if seen[place] == 1 else f"{place} ({seen[place]})")
    parts = given_parts(places)
    return tuple(SourceFile(path, place, parts[place]) for path, place in zip(paths, places, strict=True))


def _kind(path: Path) -> str:
    """What a path is that is not a plain file, in words; "" for one that is."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return "a broken link" if path.is_symlink() else "a file that cannot be looked at"
    return "" if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "not a file")


def _raise(error: OSError) -> None:
    raise error
