"""What a trial is: settings that were tried, how it ended, and what it says to those who wait for it.

The invariant: a score is a number of which less is better.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

State = Literal["waiting", "running", "complete", "pruned", "failed"]
TICKS = 10  # at which the curves of trials are compared: tenths of a training


@dataclass(frozen=True)
class Trial:
    """One trial as the study remembers it.

    `seconds` it has taken in all its `attempts`, of which `kills` ended without a word; `ended_at` is the second of the
    search in which it ended. `facts` are figures beside the score, `why` what kept it from one. `same_as` is the
    earlier trial of the very same settings.
    """

    number: int
    state: State
    settings: Mapping[str, Any]
    score: float | None = None
    seconds: float = 0.0
    ended_at: float = 0.0
    attempts: int = 0
    kills: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""
    same_as: int | None = None

    @property
    def has_ended(self) -> bool:
        """Whether it came to something of its own, be it a score, an early end or a failure."""
        return self.state not in ("waiting", "running") and self.same_as is None


@dataclass(frozen=True)
class Result:
    """What an objective gives: the score, figures beside it, and the folder in which the work is kept."""

    score: float
    facts: Mapping[str, Any] = field(default_factory=dict)
    folder: str = ""


@dataclass(frozen=True)
class Forecast:
    """What a trial will still take, known before its first step, and the folder in which it works."""

    seconds: float
    memory_bytes: int
    folder: str = ""


@dataclass(frozen=True)
class Watch:
    """What an objective tells while it works; either call may end it by raising.

    `planned` comes before the first step. `reached` says the score at a tick, 1 to 10; a trial that went on after a
    stop may say it again.

    Raises:
        NotNow: the trial does not fit what is left; it waits.
        Unpromising: others were better at this point.
    """

    number: int
    planned: Callable[[Forecast], None]
    reached: Callable[[int, float], None]


Objective = Callable[[Mapping[str, Any], Watch], Result]


class NotNow(Exception):
    """A trial was not begun: too little time is left."""


class TooLarge(Exception):
    """A trial was not begun: it would never fit the memory."""


class Unpromising(Exception):
    """A trial was ended early: others were better at this point."""


def at_ticks(curve: list[tuple[float, float]]) -> dict[int, float]:
    """A curve of (share of the training, score) read at each tenth that it has reached, linear between its points.

    >>> at_ticks([(0.0, 4.0), (0.25, 3.0), (0.5, 2.0)])
    {1: 3.6, 2: 3.2, 3: 2.8, 4: 2.4, 5: 2.0}
    """
    found: dict[int, float] = {}
    for (left, before), (right, after) in pairwise(curve):
        for tick in range(1, TICKS + 1):
            share = tick / TICKS
            if left < share <= right + 1e-9:
                found[tick] = round(before + (after - before) * (share - left) / (right - left), 12)
    return found
