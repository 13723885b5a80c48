"""The log of answers of a running server: records are handed over at once and written by a thread of its own.

The invariants: an answer never waits for the log, and never fails with it; what is not written is counted and said.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Literal

from setsail.base.errors import SetsailError
from setsail.serve.errors import fault_of
from setsail.serve.feedback.folder import Folder
from setsail.serve.feedback.ids import AnswerIds
from setsail.serve.feedback.record import Answered, Rated, as_json
from setsail.serve.feedback.sealed import Json, SealedFile, Stale

# A record without what it must not hold, by the name of the model; None where it is not to be kept at all.
Mask = Callable[[Answered | Rated], Answered | Rated | None]
Outcome = Literal["kept", "lost", "left_out"]
MOST_WAITING = 16_384  # eight of the longest lists that /predict takes
_MOST_AT_ONCE = 256
_LOOK_SECONDS = 60.0
_LEAVE_SECONDS = 10.0


@dataclass(frozen=True)
class _Entry:
    record: Answered | Rated
    outcome: Future[Outcome]


class AnswerLog:
    """Opened by whoever serves, and closed at the end; `num_…` count answers and ratings since then."""

    def __init__(
        self,
        folder: Folder,
        *,
        days: int,
        mask: Mask,
        log: Callable[[str], None],
        today: Callable[[], date] = lambda: datetime.now(UTC).date(),
        leave_seconds: float = _LEAVE_SECONDS,
    ) -> None:
        """Raises: SystemRefusal when the folder cannot be written."""
        folder.prepare()
        self.ids = AnswerIds.under(folder.key, days=days)
        self.num_kept = 0
        self.num_lost = 0
        self.num_left_out = 0
        self._folder = folder
        self._days = days
        self._mask = mask
        self._log = log
        self._today = today
        self._leave_seconds = leave_seconds
        self._is_closing = False
        self._is_full = False
        self._counting = threading.Lock()
        self._file: SealedFile | None = None
        self._looked: date | None = None
        self._waiting: queue.Queue[_Entry | None] = queue.Queue(MOST_WAITING)
        self._thread = threading.Thread(target=self._write, name="answers", daemon=True)
        self._thread.start()

    def keep(self, record: Answered | Rated) -> Future[Outcome]:
        """Hands a record over; what becomes of it is the future's, for whoever wants to know."""
        entry = _Entry(record, Future())
        entry.outcome.set_running_or_notify_cancel()  # whoever asked may leave; the record is kept all the same
        try:
            if self._is_closing:
                raise queue.Full
            self._waiting.put_nowait(entry)
        except queue.Full:
            self._lose([entry], "" if self._is_full else "too many wait to be written; the next ones are only counted")
            self._is_full = True
        return entry.outcome

    def close(self) -> None:
        """Writes what waits, and the mark of the end."""
        if not self._is_closing:
            self._is_closing = True
            with contextlib.suppress(queue.Full):  # then the thread sees by itself that nothing more comes
                self._waiting.put_nowait(None)
            self._thread.join(self._leave_seconds)
            if self._thread.is_alive():
                self._log(f"about {self._waiting.qsize()} answers or ratings are not kept: there was no time left")

    def _write(self) -> None:
        is_open = True
        while is_open:
            entries = self._next_entries()
            is_open = None not in entries
            records = [entry for entry in entries if entry is not None]
            self._is_full = False
            try:
                self._write_all(records)
            except Exception as error:  # the edge of a thread: a fault of ours loses records, and serving goes on
                self._lose([each for each in records if not each.outcome.done()], fault_of(error))
        if self._file is not None:
            self._file.close()

    def _next_entries(self) -> list[_Entry | None]:
        """What waits; nothing when nothing came for a while."""
        entries: list[_Entry | None] = []
        try:
            entries.append(self._waiting.get(timeout=0.01 if self._is_closing else _LOOK_SECONDS))
            while entries[-1] is not None and len(entries) < _MOST_AT_ONCE:
                entries.append(self._waiting.get_nowait())
        except queue.Empty:
            if self._is_closing and not entries:
                entries.append(None)
        return entries

    def _write_all(self, entries: list[_Entry]) -> None:
        self._turn_the_day()
        wanted: list[tuple[_Entry, Json]] = []
        for entry in entries:
            masked = self._mask(entry.record)
            if masked is None:
                self.num_left_out += 1
                entry.outcome.set_result("left_out")
            else:
                wanted.append((entry, as_json(masked)))
        if not wanted:
            return
        done, failure = self._add([record for _, record in wanted])
        self.num_kept += done
        for entry, _ in wanted[:done]:
            entry.outcome.set_result("kept")
        if failure is not None:
            self._lose([entry for entry, _ in wanted[done:]], failure.strerror or type(failure).__name__)

    def _add(self, records: list[Json]) -> tuple[int, OSError | None]:
        for _ in range(2):
            try:
                if self._file is None:
                    self._file = self._folder.new_file(day=self._today(), days=self._days)
                return self._file.add(records)
            except Stale:
                self._leave_file()
            except OSError as error:
                return 0, error
        return 0, OSError("the file is replaced again and again")

    def _turn_the_day(self) -> None:
        """On a new day, and at the start: what is over is deleted, and the next record begins another file."""
        today = self._today()
        if self._looked == today:
            return
        if self._file is not None:
            self._leave_file()
        try:
            num_deleted = self._folder.expire(today, days=self._days)
        except (SetsailError, OSError) as error:  # it is looked at again tomorrow
            self._log(f"old answers are not deleted: {error}")
        else:
            if num_deleted:
                self._log(f"{num_deleted} files of answers older than {self._days} days are deleted")
        self._looked = today

    def _leave_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _lose(self, entries: list[_Entry], why: str) -> None:
        with self._counting:  # two threads may lose some
            self.num_lost += len(entries)
        for entry in entries:
            entry.outcome.set_result("lost")
        if entries and why:
            self._log(f"{len(entries)} answers or ratings are not kept: {why} ({self.num_lost} lost so far)")
