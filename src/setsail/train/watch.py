"""Stopping on request: a signal is noted, the step is finished, a checkpoint saved, and only then the work ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from setsail.base.errors import SetsailError

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(SetsailError):
    """Training ended on request after a finished step; its checkpoint is saved. The exit code is 128 + the signal's."""

    label = "stopped"

    def __init__(self, message: str, *, signal_number: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number


@dataclass
class StopRequest:
    """Which signal asked to stop; None as long as nobody did."""

    signal_number: int | None = None

    def __bool__(self) -> bool:
        return self.signal_number is not None


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Notes SIGINT and SIGTERM instead of dying of them; a second SIGINT interrupts at once.

    Outside the main thread, where Python gives nobody signals, nothing is ever requested.
    """
    stop = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def note(number: int, frame: FrameType | None) -> None:
        if stop and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.signal_number = number

    before = {number: signal.signal(number, note) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
