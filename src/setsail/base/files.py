"""Durable files: written beside their place, flushed to the disk, renamed. A reader never sees half a file.

The invariant: after `write_atomically` or `publish_folder` returns, the whole content is on the disk under its final
name; if it does not return, the final name is as it was before.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from setsail.base.errors import SystemRefusal

_REFUSALS = {
    errno.ENOSPC: (
        "no space is left on the disk",
        "free some space, then type the same command: finished work is kept",
    ),
    errno.EDQUOT: ("the disk quota is used up", "free some space, then type the same command: finished work is kept"),
    errno.EFBIG: ("the file would pass the size limit of this process", "raise the limit (ulimit -f) or free space"),
    errno.EACCES: ("permission was denied", "check who owns the folder, or work in another one"),
    errno.EPERM: ("permission was denied", "check who owns the folder, or work in another one"),
    errno.EEXIST: ("a file of that name is in the way", "move it, or use another name"),
    errno.ENOTDIR: ("a file of that name is in the way", "move it, or use another name"),
    errno.EROFS: ("the file system is read-only", "work in a folder that can be written"),
}


@contextmanager
def explained_os_errors(doing: str) -> Iterator[None]:
    """Turns an operating system's refusal into a `SystemRefusal` that says what was being done and where.

    Raises:
        SystemRefusal: disk full, quota, permission, read-only file system. Other `OSError`s pass through.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        words, hint = _REFUSALS[error.errno]
        place = str(error.filename) if error.filename else None
        raise SystemRefusal(f"{words} while {doing}", place=place, hint=hint) from error


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flush_file(path: Path) -> None:
    """Forces a file's bytes to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_folder(path: Path) -> None:
    """Forces a folder's list of names to the disk, where the system can."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, content: bytes | str) -> None:
    """Replaces a small file as a whole."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


def write_private(path: Path, content: str) -> None:
    """Replaces a small file as a whole, readable by its owner only; one that is there keeps its owner and its mode."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            if path.exists():
                _look_like(path, descriptor)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


def _look_like(path: Path, descriptor: int) -> None:
    """Gives an open file the owner and mode of another, as far as we may."""
    known = path.stat()
    with contextlib.suppress(PermissionError):
        os.fchown(descriptor, known.st_uid, known.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(known.st_mode))


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """A second name of the same file where the file system can, else a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def publish_folder(draft: Path, final: Path) -> None:
    """Flushes every file of `draft`, then gives the folder its final name, in one step.

    Files become readable to others (0644), since some writers leave them 0600 and a server may run as another user.
    """
    for path in sorted(draft.rglob("*")):
        if path.is_file():
            path.chmod(0o644)
            flush_file(path)
    for path in sorted(draft.rglob("*")):
        if path.is_dir():
            flush_folder(path)
    flush_folder(draft)
    os.rename(draft, final)
    flush_folder(final.parent)
