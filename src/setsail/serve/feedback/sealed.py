"""A sealed file: records of one process and one day, each encrypted by itself, added at the end.

    head    magic, day (4 bytes), days to keep (2), mark of the key (8), salt (16)
    record  length (4 bytes), nonce (12), AES-256-GCM of the record's JSON with its tag

Each file has a key of its own, derived from the log's key by its salt. Head and place of a record are bound into its
tag. So a record that was changed, moved, swapped, doubled or put in from another file is noticed, and so is one that
was taken out of the middle. A file that was closed ends with a sealed mark, so that a cut end is noticed there. Not
noticed are a whole file that was removed, and records cut from the end of a file that has no mark (its writer runs, or
was killed); such files are counted. Sizes and times of records can be seen. What stands in records is not known here.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import IO, Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from setsail.serve.feedback.key import MARK_BYTES, AnswersKey

Json = dict[str, Any]

SUFFIX = ".sealed"
_MAGIC = b"SETSAIL ANSWERS 1\n"
_SALT_BYTES = 16
_HEAD = struct.Struct(f">{len(_MAGIC)}sIH{MARK_BYTES}s{_SALT_BYTES}s")
_LENGTH = struct.Struct(">I")
_PLACE = struct.Struct(">Q")
_NONCE_BYTES = 12
_TAG_BYTES = 16
_SHORTEST = _NONCE_BYTES + _TAG_BYTES
_LONGEST = 64 << 20
_END = {"kind": "end"}


class Stale(Exception):
    """The file was replaced, or is gone: what is to be written belongs into another one."""


@dataclass(frozen=True)
class Head:
    """What a file says in the clear: its day, how many days it is kept, whose key it needs."""

    day: date
    days: int
    mark: bytes
    raw: bytes

    def is_over(self, today: date, *, days: int | None = None) -> bool:
        """Whether it is to be deleted; `days` may shorten what it says."""
        return (today - self.day).days > min(self.days, self.days if days is None else days)


@dataclass
class Seen:
    """What reading a file found: records, such as are damaged, bytes of a torn one at its end, and its last mark."""

    num_records: int = 0
    num_damaged: int = 0
    num_torn_bytes: int = 0
    is_closed: bool = False


def read_head(file: IO[bytes]) -> Head | None:
    """The head of a file; None where it is none of ours, or not written yet."""
    raw = file.read(_HEAD.size)
    if len(raw) < _HEAD.size:
        return None
    magic, day, days, mark, _ = _HEAD.unpack(raw)
    try:
        return Head(date.fromordinal(day), days, mark, raw) if magic == _MAGIC else None
    except (ValueError, OverflowError):
        return None


def size_of(file: IO[bytes]) -> int:
    """How long a file is now, between two records of whoever writes it."""
    fcntl.flock(file, fcntl.LOCK_SH)
    try:
        return os.fstat(file.fileno()).st_size
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def read_records(
    file: IO[bytes], head: Head, key: AnswersKey, seen: Seen, *, size: int
) -> Iterator[tuple[int, int, Json]]:
    """Offset, number and content of each record behind the head, which the key must fit. Mutates: `seen`."""
    cipher = _cipher(key, head.raw)
    number = 0
    while True:
        offset = file.tell()
        sealed = _next(file, size - offset)
        if sealed is None:
            seen.num_torn_bytes = size - offset
            return
        record = _opened(cipher, head.raw, number, sealed)
        if seen.is_closed or record is None:
            seen.num_damaged += 1  # nothing may stand behind the mark of the end
        elif record == _END:
            seen.is_closed = True
        else:
            seen.num_records += 1
            yield offset, number, record
        number += 1


def read_one(file: IO[bytes], key: AnswersKey, offset: int, number: int) -> Json | None:
    """The record at a place that `read_records` told; None where another one stands there now."""
    file.seek(0)
    head = read_head(file)
    file.seek(offset)
    sealed = _next(file, _LENGTH.size + _LONGEST) if head is not None else None
    return None if head is None or sealed is None else _opened(_cipher(key, head.raw), head.raw, number, sealed)


def _next(file: IO[bytes], num_left: int) -> bytes | None:
    """The next record of the bytes that are left; None where they hold none."""
    raw = file.read(_LENGTH.size)
    length = _LENGTH.unpack(raw)[0] if len(raw) == _LENGTH.size else 0
    fits = _SHORTEST <= length <= min(_LONGEST, num_left - _LENGTH.size)
    sealed = file.read(length) if fits else b""
    return sealed if sealed and len(sealed) == length else None


def _opened(cipher: AESGCM, head: bytes, number: int, sealed: bytes) -> Json | None:
    try:
        return json.loads(cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], head + _PLACE.pack(number)))
    except InvalidTag:
        return None


def _cipher(key: AnswersKey, head: bytes) -> AESGCM:
    return AESGCM(key.derived("file of answers", salt=head[-_SALT_BYTES:]))


class SealedFile:
    """A file that is open for adding, readable by its owner only; used by one thread."""

    def __init__(self, path: Path, key: AnswersKey, *, day: date, days: int) -> None:
        """Raises: OSError when it cannot be made."""
        self.path = path
        self.day = day
        self._head = _HEAD.pack(_MAGIC, day.toordinal(), days, key.mark, secrets.token_bytes(_SALT_BYTES))
        self._cipher = _cipher(key, self._head)
        self._number = 0
        self._is_torn = False
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self._append(self._head)
        except OSError:
            os.close(self._file)
            path.unlink(missing_ok=True)
            raise

    def add(self, records: Sequence[Json]) -> tuple[int, OSError | None]:
        """Writes records and makes sure that they are on the disk; how many are, and why the rest is not.

        Raises: Stale, with nothing written.
        """
        with self._alone():
            done, failure = 0, None
            try:
                for record in records:
                    self._add(record)
                    done += 1
                os.fsync(self._file)
            except OSError as error:
                failure = error
            return done, failure

    def close(self) -> None:
        """Writes the mark of the end, where that can be."""
        with contextlib.suppress(OSError, Stale):
            self.add([_END])
        os.close(self._file)

    def _add(self, record: Json) -> None:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, json.dumps(record).encode(), self._head + _PLACE.pack(self._number))
        self._append(_LENGTH.pack(_NONCE_BYTES + len(sealed)) + nonce + sealed)
        self._number += 1

    def _append(self, data: bytes) -> None:
        """All of it or nothing: what a full disk took of it is taken back."""
        start = os.fstat(self._file).st_size
        written = 0
        try:
            while written < len(data):
                written += os.write(self._file, data[written:])
        except OSError:
            self._is_torn = True
            os.ftruncate(self._file, start)
            self._is_torn = False
            raise

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keeps those out who write the file anew without some records. Raises: Stale when one has."""
        if self._is_torn:
            raise Stale
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            try:
                found = os.stat(self.path)
            except OSError:
                raise Stale from None
            mine = os.fstat(self._file)
            if (found.st_ino, found.st_dev) != (mine.st_ino, mine.st_dev):
                raise Stale
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)


def write_anew(path: Path, key: AnswersKey, head: Head, records: Iterable[Json]) -> None:
    """Replaces a file by one of the same day with these records, and closes it. The caller holds its lock.

    Raises: OSError, with the file as it was.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        file = SealedFile(beside, key, day=head.day, days=head.days)
        _, failure = file.add(list(records))
        file.close()
        if failure is not None:
            raise failure
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
