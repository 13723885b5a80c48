"""Small objectives for tests of the search; they run in processes of their own, which find them here by name."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from setsail.base.errors import DataError
from setsail.tune.space import Choices, Range, Setting, Space
from setsail.tune.trial import Forecast, Result, Watch

BOWL = Space({"x": Setting(Range(-5.0, 5.0)), "y": Setting(Range(-5.0, 5.0))})


def bowl(settings: Mapping[str, Any], watch: Watch) -> Result:
    """Least at x = 2, y = -1."""
    return Result((settings["x"] - 2) ** 2 + (settings["y"] + 1) ** 2, {"steps": 1})


def falling(settings: Mapping[str, Any], watch: Watch) -> Result:
    """Ends at x, and says on the way where it stands."""
    for tick in range(1, 10):
        watch.reached(tick, settings["x"] + (10 - tick) / 10)
    return Result(settings["x"])


def dear(settings: Mapping[str, Any], watch: Watch) -> Result:
    """Says that it takes an hour."""
    watch.planned(Forecast(3600.0, 1000))
    return bowl(settings, watch)


def broken(settings: Mapping[str, Any], watch: Watch) -> Result:
    raise DataError("the third column is missing", place="rows.csv:7")


def sometimes_killed(settings: Mapping[str, Any], watch: Watch) -> Result:
    """Dies in the second trial as if the system had killed it."""
    if watch.number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return bowl(settings, watch)


@dataclass(frozen=True)
class Diary:
    """A bowl that writes into a file what it does, and goes on after a stop from where it was."""

    folder: Path
    steps: int = 4
    pause: float = 0.0
    memory: int = 1000

    def __call__(self, settings: Mapping[str, Any], watch: Watch) -> Result:
        file = self.folder / f"{watch.number}.txt"
        done = len(file.read_text().splitlines()) if file.exists() else 0
        with (self.folder / f"{watch.number}.begun").open("a") as begun:
            begun.write(f"{time.time()}\n")
        watch.planned(Forecast((self.steps - done) * self.pause, self.memory, file.name))
        for step in range(done, self.steps):
            time.sleep(self.pause)
            with file.open("a") as diary:
                diary.write(f"step {step} of {settings['x']!r} {settings['y']!r} from {time.time()}\n")
        with (self.folder / "ended.txt").open("a") as ended:
            ended.write(f"{watch.number}\n")
        return bowl(settings, watch)


@dataclass(frozen=True)
class Unending:
    """Says nothing of what it takes, and goes on until it is stopped."""

    folder: Path

    def __call__(self, settings: Mapping[str, Any], watch: Watch) -> Result:
        while True:
            time.sleep(0.01)


KINDS = Space(
    {
        "base": Setting(Choices(("linear", "net", {"new": "1m", "kind": "lstm"}))),
        "rate": Setting(Range(1e-5, 1e-1, log=True), only_for=("net", '{"new": "1m", "kind": "lstm"}')),
        "rank": Setting(Range(2, 64, log=True, whole=True), only_for=("net",)),
        "penalty": Setting(Range(0.1, 10.0), only_for=("linear",)),
    },
    kind="base",
)
