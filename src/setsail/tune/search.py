"""The search itself: asks the study what to try, has it tried, and stops in time.

The invariant: when `search` returns or raises, no process is left at work, each trial has ended or waits, and the time
that was spent is noted.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from setsail.base.errors import UserError
from setsail.base.log import Log, duration, size
from setsail.tune.crew import GO, NOT_NOW, TOO_LARGE, UNPROMISING, Crew, Message
from setsail.tune.study import Study
from setsail.tune.trial import Forecast, Result, Trial

Reason = Literal["time", "trials", "nothing fits", "searched through", "stopped"]
MOST_REFUSED = 3  # trials in a row that do not fit what is left of the time
MOST_REPEATED = 20  # suggestions in a row that have been tried already
MOST_FAILED = 3  # trials before any has come to a score
MOST_KILLS = 5  # of one trial, each at another start of the search
_NOTE_SECONDS = 1.0


class SearchFailed(UserError):
    """Every trial came to nothing."""

    label = "search error"


@dataclass(frozen=True)
class Limits:
    """When a search ends, and what it may take: seconds over all its starts, trials that ended, bytes of memory."""

    seconds: float | None
    trials: int | None
    memory_bytes: int


@dataclass
class _Going:
    """What a search has at work: when each trial was begun, and who waits for memory."""

    began: dict[int, float] = field(default_factory=dict)
    planned: dict[int, Forecast] = field(default_factory=dict)  # those that may go on
    asking: dict[int, Forecast] = field(default_factory=dict)
    num_refused: int = 0
    too_long: set[int] = field(default_factory=set)


@dataclass
class Search:
    """A search on its way; `run` does it. `ended` is told of each trial that ended."""

    study: Study
    crew: Crew
    limits: Limits
    log: Log
    ended: Callable[[Trial], None] = lambda trial: None
    _going: _Going = field(default_factory=_Going)
    _began: float = field(default_factory=time.monotonic)
    _before: float = 0.0

    def run(self) -> Reason:
        """Tries until a limit is reached, and says which.

        Raises:
            SearchFailed: the first trials all failed, or none fits the time.
            KeyboardInterrupt: everything is saved.
        """
        self._before = self.study.spent_seconds
        for number in self.study.put_back_running():
            self.log.say(f"  trial {number} was running when the search was stopped: it goes on")
        with self._put_away():
            while True:
                reason = self._reason_to_end()
                if reason is None:
                    reason = self._start()
                if not self.crew.numbers and reason is not None:
                    return self._said(reason)
                if reason == "time":
                    return self._said(reason)
                for number, message in self.crew.listen(self._patience()):
                    self._hear(number, message)
                self._let_in()
                self._note_time()

    @property
    def spent(self) -> float:
        """Seconds of this search, over all its starts."""
        return self._before + time.monotonic() - self._began

    @property
    def left(self) -> float:
        return float("inf") if self.limits.seconds is None else self.limits.seconds - self.spent

    @contextmanager
    def _put_away(self) -> Iterator[None]:
        """Whatever ends the search, the processes end and the trials at work wait."""
        try:
            yield
        finally:
            self.crew.ask_to_stop()
            for number in self._hear_out():
                self.study.put_back(number, seconds=self._seconds(number))
            self.crew.close()
            self.study.note_spent(self.spent)

    def _hear_out(self) -> set[int]:
        """Listens to the last words: a trial that came to its end meanwhile has ended. Which trials have not."""
        left = set(self._going.began) | self._going.too_long
        while self.crew.numbers:
            for number, message in self.crew.listen(_NOTE_SECONDS):
                if message.kind in ("planned", "reached"):
                    self.crew.answer(number, NOT_NOW if message.kind == "planned" else GO)
                elif message.kind == "scored":
                    self._score(number, message.result)
                    left.discard(number)
        return left

    def _reason_to_end(self) -> Reason | None:
        if self.left <= 0:
            return "time"
        if self.limits.trials is not None:
            num_ended = sum(trial.has_ended for trial in self.study.trials())
            if num_ended + len(self._going.began) >= self.limits.trials:
                return "trials"
        return "nothing fits" if self._going.num_refused >= MOST_REFUSED else None

    def _start(self) -> Reason | None:
        """Gives a trial to each process that is free, as far as memory is known to last."""
        while len(self.crew.numbers) < self.crew.size and self._may_begin():
            trial = self._fresh()
            if trial is None:
                return "searched through"
            if trial.kills >= MOST_KILLS:
                self._fail(trial.number, f"it was killed {MOST_KILLS} times before it came to a score")
                continue
            self._going.began[trial.number] = time.monotonic()
            self.crew.start(trial)
            if self._reason_to_end() is not None:
                break
        return None

    def _may_begin(self) -> bool:
        """Whether another trial may begin: the first one alone shows what a trial takes."""
        if not self.crew.numbers:
            return True
        known = [trial.facts.get("memory_bytes", 0) for trial in self.study.trials()]
        largest = max(known, default=0)
        if not largest:
            return False
        taken = sum(self._memory_of(number, largest) for number in self.crew.numbers)
        return taken + largest <= self.limits.memory_bytes

    def _memory_of(self, number: int, otherwise: int) -> int:
        forecast = self._going.planned.get(number)
        return otherwise if forecast is None else forecast.memory_bytes

    def _fresh(self) -> Trial | None:
        """The next trial whose settings no other has had; what was tried already gets the score that it had."""
        for _ in range(MOST_REPEATED):
            trial = self.study.ask()
            others = (each for each in self.study.trials() if each.number != trial.number)
            same = next((each for each in others if each.settings == trial.settings and each.same_as is None), None)
            if same is None:
                return trial
            self._repeat(trial, same)
        return None

    def _repeat(self, trial: Trial, same: Trial) -> None:
        at, told = self.spent, f"the very settings of trial {same.number}"
        if same.state == "complete" and same.score is not None:
            self.study.complete(trial.number, Result(same.score), seconds=0.0, at=at, same_as=same.number)
        elif same.state == "pruned":
            self.study.prune(trial.number, told, seconds=0.0, at=at, same_as=same.number)
        else:
            self.study.fail(trial.number, told, seconds=0.0, at=at, same_as=same.number)

    def _hear(self, number: int, message: Message) -> None:
        if message.kind == "began":  # before that it has waited for its modules to be loaded
            self._going.began[number] = time.monotonic()
        elif message.kind == "planned":
            self.study.plan(number, message.forecast)
            self._going.asking[number] = message.forecast
        elif message.kind == "reached":
            is_worse = self.study.report(number, message.tick, message.score)
            self.crew.answer(number, UNPROMISING if is_worse else GO)
        elif message.kind == "scored":
            self._score(number, message.result)
        elif message.kind == "refused":
            self._refuse(number, message.why)
        elif message.kind == "stopped":
            raise KeyboardInterrupt
        else:
            self._fail(number, message.why)

    def _let_in(self) -> None:
        """Answers who asked to begin: the time and the memory are enough, will be, or never are."""
        going = self._going
        for number, forecast in list(going.asking.items()):
            if forecast.memory_bytes > self.limits.memory_bytes:
                said = TOO_LARGE
            elif forecast.seconds + self._overhead() > self.left:
                said = NOT_NOW
            else:
                taken = sum(other.memory_bytes for other in going.planned.values())
                if going.planned and taken + forecast.memory_bytes > self.limits.memory_bytes:
                    continue  # until another trial has ended
                said = GO
                going.planned[number] = forecast
            del going.asking[number]
            self.crew.answer(number, said)

    def _overhead(self) -> float:
        """What trials have taken beyond what was predicted of them: loading, validating, saving."""
        beyond = [
            trial.seconds - trial.facts["predicted_seconds"]
            for trial in self.study.trials()
            if trial.state == "complete" and trial.attempts == 1 and "predicted_seconds" in trial.facts
        ]
        return max(0.0, statistics.median(beyond)) if beyond else 0.0

    def _seconds(self, number: int) -> float:
        began = self._going.began.get(number)
        return 0.0 if began is None else time.monotonic() - began

    def _forget(self, number: int) -> None:
        for table in (self._going.began, self._going.planned, self._going.asking):
            table.pop(number, None)

    def _score(self, number: int, result: Result) -> None:
        self.study.complete(number, result, seconds=self._seconds(number), at=self.spent)
        self._going.num_refused = 0
        self._over(number)

    def _fail(self, number: int, why: str) -> None:
        self.study.fail(number, why, seconds=self._seconds(number), at=self.spent)
        self._over(number)
        trials = [trial for trial in self.study.trials() if trial.same_as is None]
        failed = [trial for trial in trials if trial.state == "failed"]
        if len(failed) >= MOST_FAILED and not any(trial.score is not None for trial in trials):
            raise SearchFailed(
                f"the first {len(failed)} trials failed, the last one since {why}",
                place=str(self.crew.folder / f"{number}.log"),
                hint="setsail run with the recipe as it is shows what is wrong",
            )

    def _refuse(self, number: int, why: str) -> None:
        """A trial that was not let in, or not let go on."""
        trial = self.study.trial(number)
        if why == "Unpromising":
            self.study.prune(number, "others were better by then", seconds=self._seconds(number), at=self.spent)
            self._over(number)
        elif why == "TooLarge":
            needs, may = size(trial.facts["memory_bytes"]), size(self.limits.memory_bytes)
            self._fail(number, f"it would take {needs} of memory, {may} may be taken")
        else:
            takes = trial.facts["predicted_seconds"] + self._overhead()
            left = duration(max(0.0, self.left))
            self.log.say(f"  trial {number} would take {duration(takes)}, {left} are left: it waits")
            self._going.num_refused += 1
            self._going.too_long.add(number)
            self._forget(number)

    def _over(self, number: int) -> None:
        self._forget(number)
        self.ended(self.study.trial(number))

    def _patience(self) -> float:
        return max(0.0, min(_NOTE_SECONDS, self.left))

    def _note_time(self) -> None:
        if self.spent - self.study.spent_seconds >= _NOTE_SECONDS:
            self.study.note_spent(self.spent)

    def _said(self, reason: Reason) -> Reason:
        if reason != "nothing fits" or self.study.best() is not None:
            return reason
        waiting = [self.study.trial(number) for number in self._going.too_long]
        least = min(trial.facts["predicted_seconds"] for trial in waiting)
        raise SearchFailed(
            f"no trial fits: the shortest of {len(waiting)} would take {duration(least)}, "
            f"{duration(max(0.0, self.left))} are left",
            hint="give more time with --budget, or search over fewer epochs (tune.space)",
        )
