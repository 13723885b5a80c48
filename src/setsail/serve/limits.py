"""How much each key has used: requests of the last minute, tokens of the day; and what was used survives a restart.

Tokens are counted by name and UTC day in a file beside the key file, at most a second late; requests of the last minute
are not kept. The invariants: a request that is refused counts for nothing; and more than `requests_per_minute` are
never let in within any sixty seconds.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from setsail.base.errors import UserError
from setsail.base.files import explained_os_errors, write_private
from setsail.serve.errors import ApiError
from setsail.serve.keys import Key

_MINUTE_SECONDS = 60.0
SAVE_SECONDS = 1.0


class Used(BaseModel):
    """Tokens by the names of keys, on one day in UTC."""

    model_config = ConfigDict(extra="forbid", strict=True)

    version: Literal[1]
    day: date
    tokens: dict[str, Annotated[int, Field(ge=0)]]


def usage_file(keys: Path) -> Path:
    """Where a key file's usage is kept."""
    return keys.with_name(keys.name + ".usage")


class Limits:
    """What was used of every key's limits; used from one event loop, saved from any thread."""

    def __init__(
        self, path: Path, *, seconds: Callable[[], float] = time.monotonic, now: Callable[[], datetime] | None = None
    ) -> None:
        """Raises: UserError when the file is damaged."""
        self._path = path
        self._seconds = seconds
        self._now = now or (lambda: datetime.now(UTC))
        self._minutes: dict[str, deque[float]] = {}
        self._day, self._tokens = self._read()
        self._saved = self.snapshot()

    def admit(self, key: Key, *, spends: bool = True) -> None:
        """Counts a request, which `spends` tokens or not. Raises `ApiError` 429 with the limit that it is over."""
        if spends:
            self._admit_tokens(key)
        self._admit_request(key)

    def charge(self, key: Key, num_tokens: int) -> None:
        """Counts what a request has read and written."""
        if key.tokens_per_day is not None and num_tokens:
            self._turn_the_day()
            self._tokens[key.name] = self._tokens.get(key.name, 0) + num_tokens

    def tokens_today(self, name: str) -> int:
        """What a key has read and written since midnight in UTC."""
        self._turn_the_day()
        return self._tokens.get(name, 0)

    @property
    def is_saved(self) -> bool:
        return self.snapshot() == self._saved

    def snapshot(self) -> Used:
        """What is to be written; taken on the event loop."""
        return Used(version=1, day=self._day, tokens=dict(self._tokens))

    def save(self, used: Used) -> None:
        """Writes a snapshot; from any thread. Raises: SystemRefusal."""
        with explained_os_errors("writing what keys have used"):
            write_private(self._path, used.model_dump_json() + "\n")
        self._saved = used

    def _admit_tokens(self, key: Key) -> None:
        if key.tokens_per_day is None or self.tokens_today(key.name) < key.tokens_per_day:
            return
        now = self._now()
        midnight = datetime(now.year, now.month, now.day, tzinfo=UTC) + timedelta(days=1)
        told = f"the key {key.name} has used its {key.tokens_per_day} tokens of today"
        raise _over(told, "tokens_per_day", (midnight - now).total_seconds())

    def _admit_request(self, key: Key) -> None:
        most = key.requests_per_minute
        if most is None:
            return
        now, recent = self._seconds(), self._minutes.setdefault(key.name, deque())
        while recent and recent[0] <= now - _MINUTE_SECONDS:
            recent.popleft()
        if len(recent) >= most:
            # The limit may have been lowered meanwhile: as many must grow old as are too many.
            wait = recent[len(recent) - most] + _MINUTE_SECONDS - now
            told = f"the key {key.name} has made its {most} requests of this minute"
            raise _over(told, "requests_per_minute", wait)
        recent.append(now)

    def _turn_the_day(self) -> None:
        today = self._now().astimezone(UTC).date()
        if today != self._day:
            self._day, self._tokens = today, {}

    def _read(self) -> tuple[date, dict[str, int]]:
        today = self._now().astimezone(UTC).date()
        try:
            used = Used.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return today, {}
        except OSError as error:
            raise UserError(f"what keys have used cannot be read: {error.strerror}", place=str(self._path)) from None
        except ValidationError:
            hint = "remove it: today's tokens are then counted from nothing"
            raise UserError("the file of what keys have used is damaged", place=str(self._path), hint=hint) from None
        return today, dict(used.tokens) if used.day == today else {}


def _over(told: str, limit: str, wait_seconds: float) -> ApiError:
    seconds = max(1, math.ceil(wait_seconds))
    return ApiError(429, told, code=limit, hint=f"try again in {seconds} s", retry_after_seconds=seconds)
