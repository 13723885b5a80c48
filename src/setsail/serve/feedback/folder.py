"""A folder of sealed files: one for each day and process. Reading all of it, deleting what is over, forgetting.

The invariant: what cannot be read is counted in an `Account` and never ends the reading; a file is replaced or deleted
only while no other process is in the middle of writing into it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import IO

from setsail.base.errors import SystemRefusal, UserError
from setsail.base.files import flush_folder
from setsail.serve.feedback.key import AnswersKey
from setsail.serve.feedback.sealed import (
    SUFFIX,
    Head,
    Json,
    SealedFile,
    Seen,
    read_head,
    read_one,
    read_records,
    size_of,
    write_anew,
)

_DRAFT_SECONDS = 3600.0


@dataclass(frozen=True)
class Place:
    """Where a record stands."""

    path: Path
    offset: int
    number: int


@dataclass
class Account:
    """What reading a folder found. `num_unclosed` files are written to now, or their writer was killed."""

    num_files: int = 0
    num_records: int = 0
    num_damaged: int = 0
    num_torn: int = 0
    num_unclosed: int = 0
    num_under_another_key: int = 0
    num_unknown: int = 0

    def as_json(self) -> Json:
        return asdict(self)

    def add(self, seen: Seen) -> None:
        """Counts a file that was read."""
        self.num_records += seen.num_records
        self.num_damaged += seen.num_damaged
        self.num_torn += bool(seen.num_torn_bytes)
        self.num_unclosed += not seen.is_closed


@dataclass(frozen=True)
class Folder:
    """The log's folder, under one key."""

    path: Path
    key: AnswersKey = field(repr=False)

    def prepare(self) -> None:
        """Makes the folder, for its owner alone. Raises: SystemRefusal when nothing can be written there."""
        probe = self.path / f".{secrets.token_hex(4)}.tmp"
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            probe.touch(mode=0o600)
            probe.unlink()
        except OSError as error:
            told = f"the log of answers cannot be written: {error.strerror}"
            raise SystemRefusal(told, place=str(self.path), hint="name a folder that can be written") from None

    def new_file(self, *, day: date, days: int) -> SealedFile:
        """A file of this process. Raises: OSError."""
        path = self.path / f"{day:%Y-%m-%d}.{secrets.token_hex(4)}{SUFFIX}"
        return SealedFile(path, self.key, day=day, days=days)

    def files(self) -> list[Path]:
        """All files, by day. Raises: UserError where there is no such folder."""
        if not self.path.is_dir():
            hint = "answers are kept once setsail serve runs with serve.answers, or --answers FOLDER"
            raise UserError("there is no log of answers", place=str(self.path), hint=hint)
        return sorted(self.path.glob(f"*{SUFFIX}"))

    def longest_days(self) -> int:
        """The most days that a file here is kept; what is said of an answer must not go before it. 0 without files."""
        days = 0
        for path in self.files():
            with path.open("rb") as file:
                head = read_head(file)
            days = max(days, head.days if head is not None else 0)
        return days

    def records(self, account: Account) -> Iterator[tuple[Place, Json]]:
        """Every record that can be read, by day and, within a file, in its order. Mutates: `account`."""
        for path in self.files():
            try:
                file = path.open("rb")
            except FileNotFoundError:
                continue  # it was over, and another process has deleted it
            with file:
                account.num_files += 1
                size, head = size_of(file), read_head(file)
                if head is None or head.mark != self.key.mark:
                    account.num_unknown += head is None
                    account.num_under_another_key += head is not None
                    continue
                seen = Seen()
                for offset, number, record in read_records(file, head, self.key, seen, size=size):
                    yield Place(path, offset, number), record
                account.add(seen)

    def read(self, place: Place) -> Json | None:
        """The record at a place; None where it has been forgotten since."""
        try:
            with place.path.open("rb") as file:
                return read_one(file, self.key, place.offset, place.number)
        except FileNotFoundError:
            return None

    def expire(self, today: date, *, days: int | None = None) -> int:
        """Deletes the files that are over, whatever key they need; `days` may shorten what they say themselves."""
        num_deleted = 0
        for path in self.files():
            with _alone_with(path) as file:
                head = read_head(file) if file is not None else None
                if head is not None and head.is_over(today, days=days):
                    path.unlink(missing_ok=True)
                    num_deleted += 1
        for draft in self.path.glob(f".*{SUFFIX}.*.tmp"):  # of a command that was killed while it forgot something
            with contextlib.suppress(FileNotFoundError):
                if time.time() - draft.stat().st_mtime > _DRAFT_SECONDS:
                    draft.unlink()
        return num_deleted

    def without(self, is_unwanted: Callable[[Json], bool], account: Account) -> int:
        """Takes records out of their files, which are written anew; how many went.

        What is damaged in such a file goes too. Mutates: `account`, which says what could not be searched.
        Raises: OSError; each file is as it was, or done.
        """
        num_gone = 0
        for path in self.files():
            with _alone_with(path) as file:
                num_gone += self._without(path, file, is_unwanted, account) if file is not None else 0
        flush_folder(self.path)
        return num_gone

    def _without(self, path: Path, file: IO[bytes], is_unwanted: Callable[[Json], bool], account: Account) -> int:
        account.num_files += 1
        head = read_head(file)
        if head is None or head.mark != self.key.mark:
            account.num_unknown += head is None
            account.num_under_another_key += head is not None
            return 0
        seen, size = Seen(), os.fstat(file.fileno()).st_size
        records = [record for _, _, record in read_records(file, head, self.key, seen, size=size)]
        account.add(seen)
        kept = [record for record in records if not is_unwanted(record)]
        if len(kept) < len(records):
            self._replace(path, head, kept)
        return len(records) - len(kept)

    def _replace(self, path: Path, head: Head, kept: list[Json]) -> None:
        if kept:
            write_anew(path, self.key, head, kept)
        else:
            path.unlink()


@contextmanager
def _alone_with(path: Path) -> Iterator[IO[bytes] | None]:
    """The file, while nobody writes into it; None where it is gone or was replaced meanwhile."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        yield None
        return
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            is_same = os.stat(path).st_ino == os.fstat(file.fileno()).st_ino
        except FileNotFoundError:
            is_same = False
        yield file if is_same else None
