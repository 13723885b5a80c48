"""What a person sees while work goes on: lines and progress with an estimate of the time left, all on stderr.

Results go to stdout and are printed by `cli.py` alone.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO


def duration(seconds: float) -> str:
    """A span of time in the words of a clock.

    >>> duration(7.04), duration(65), duration(7270)
    ('7.0 s', '1 min 05 s', '2 h 01 min')
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"
    return f"{int(seconds) // 3600} h {int(seconds) % 3600 // 60:02d} min"


def size(num_bytes: float) -> str:
    """A number of bytes in the largest fitting unit.

    >>> size(512), size(144811072)
    ('512 B', '138.1 MiB')
    """
    for unit in ("B", "KiB", "MiB"):
        if num_bytes < 1024:
            return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1024
    return f"{num_bytes:.2f} GiB"


@dataclass
class Progress:
    """How far a piece of work is. `advance` is called by the work; drawing is the log's."""

    label: str
    total: int
    stream: TextIO | None
    done: int = 0
    figures: dict[str, str] = field(default_factory=dict)
    _started: float = field(default_factory=time.monotonic)
    _first: int = 0
    _drawn: float = 0.0

    def start_at(self, done: int) -> None:
        """Counts work that an earlier attempt had already done; it does not enter the estimate."""
        self.done = self._first = done

    def advance(self, count: int = 1, **figures: str) -> None:
        """Counts finished work; `figures` are shown beside the bar."""
        self.done += count
        self.figures.update(figures)
        pause = 0.2 if self._on_terminal else 10.0
        if time.monotonic() - self._drawn >= pause:
            self._draw()

    @property
    def _on_terminal(self) -> bool:
        return self.stream is not None and self.stream.isatty()

    def _draw(self) -> None:
        if self.stream is None:
            return
        self._drawn = time.monotonic()
        elapsed = self._drawn - self._started
        fresh = self.done - self._first
        left = f"{duration(elapsed / fresh * (self.total - self.done))} left" if fresh else "…"
        beside = "  ".join(f"{name} {value}" for name, value in self.figures.items())
        line = f"  {self.label} {self.done}/{self.total}  {left}  {beside}".rstrip()
        if self._on_terminal:
            print(f"\r\x1b[2K{line[:150]}", end="", file=self.stream, flush=True)
        else:
            print(line, file=self.stream, flush=True)

    def finish(self) -> None:
        """Clears the bar of a terminal."""
        if self._on_terminal:
            print("\r\x1b[2K", end="", file=self.stream, flush=True)


class Log:
    """Where a stage says what it does."""

    def __init__(self, *, quiet: bool = False, stream: TextIO | None = None) -> None:
        self._stream = None if quiet else (stream or sys.stderr)

    def say(self, text: str = "") -> None:
        """One line, or several."""
        if self._stream is not None:
            print(text, file=self._stream, flush=True)

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Progress]:
        """Progress over `total` pieces of work."""
        progress = Progress(label, total, self._stream)
        progress._drawn = time.monotonic()
        try:
            yield progress
        finally:
            progress.finish()
