"""Who does the trials: a process for each, which asks before its first step and tells its scores on the way.

A process of its own gives its memory back, may be killed without harm, and is stopped by a signal, on which training
saves its state. The invariant: two processes never work on one trial, though one be left over from a killed search.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from setsail.base.errors import SetsailError
from setsail.tune.trial import Forecast, NotNow, Objective, Result, TooLarge, Trial, Unpromising, Watch

_SIGNALLED = 128  # exit codes from here on say which signal ended the work
GO, NOT_NOW, TOO_LARGE, UNPROMISING = "go", "not now", "too large", "unpromising"
_ON_THE_WAY = ("began", "planned", "reached")  # the last word is scored, refused, failed or stopped
_REFUSALS = {NOT_NOW: NotNow, TOO_LARGE: TooLarge, UNPROMISING: Unpromising}


@dataclass(frozen=True)
class Message:
    """What a process says of its trial: `kind` is began, planned, reached or, at the end, another word."""

    kind: str
    forecast: Forecast = field(default_factory=lambda: Forecast(0.0, 0))
    tick: int = 0
    score: float = 0.0
    result: Result = field(default_factory=lambda: Result(0.0))
    why: str = ""


@dataclass
class Crew:
    """Processes at work, by the number of their trial. `modules` are loaded once, for all of them."""

    objective: Objective
    folder: Path
    size: int = 1
    modules: Sequence[str] = ()
    _at_work: dict[int, tuple[Any, Connection]] = field(default_factory=dict)
    _places: dict[int, int] = field(default_factory=dict)

    @property
    def numbers(self) -> list[int]:
        """The trials that are worked on."""
        return list(self._at_work)

    def start(self, trial: Trial) -> None:
        """Gives a trial to a process."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(self.modules))
        with _deaf_to_interrupts():
            forkserver.ensure_running()
        ours, theirs = context.Pipe()
        place = min(set(range(self.size)) - {self._places[number] for number in self._at_work})
        cores = _share_of_cores(place, self.size)
        lock = self.folder / f"{trial.number}.lock"
        process = context.Process(
            target=work, args=(self.objective, dict(trial.settings), trial.number, theirs, lock, cores)
        )
        process.start()
        theirs.close()
        self._places[trial.number] = place
        self._at_work[trial.number] = (process, ours)

    def listen(self, timeout: float) -> Iterator[tuple[int, Message]]:
        """What is said within so many seconds; a process that ended without a word has failed."""
        by_pipe = {pipe: number for number, (_, pipe) in self._at_work.items()}
        for ready in wait(list(by_pipe), timeout):
            assert isinstance(ready, Connection)
            number = by_pipe[ready]
            try:
                message = ready.recv()
            except (EOFError, ConnectionResetError):
                message = Message("failed", why=self._how_it_ended(number))
            if message.kind not in _ON_THE_WAY:
                self._let_go(number)
            yield number, message

    def answer(self, number: int, said: str) -> None:
        """Lets a process go on, or not."""
        try:
            self._at_work[number][1].send(said)
        except (BrokenPipeError, ConnectionResetError):
            return  # it has died; listening says how

    def ask_to_stop(self) -> None:
        """Has every process save what it has done and end."""
        for process, _ in self._at_work.values():
            if process.is_alive():
                process.terminate()

    def close(self) -> None:
        """Waits for all processes to end."""
        for process, pipe in self._at_work.values():
            pipe.close()
            process.join()
        self._at_work.clear()

    def _how_it_ended(self, number: int) -> str:
        process = self._at_work[number][0]
        process.join()
        code = process.exitcode or 0
        if code == -signal.SIGKILL:
            return "its process was killed (signal 9), as a system does that is out of memory"
        return f"its process ended with {'signal' if code < 0 else 'exit code'} {abs(code)}"

    def _let_go(self, number: int) -> None:
        process, pipe = self._at_work.pop(number)
        pipe.close()
        process.join()


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """What is begun here does not die of Ctrl-C: whoever searches hears it, and asks the processes to stop."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _share_of_cores(place: int, size: int) -> tuple[int, ...]:
    """The cores of one of several processes, so that they do not get in each other's way; all of them for one alone."""
    if size == 1 or not hasattr(os, "sched_getaffinity"):
        return ()
    cores = sorted(os.sched_getaffinity(0))
    return tuple(cores[place::size]) or (cores[place % len(cores)],)


def work(
    objective: Objective,
    settings: Mapping[str, Any],
    number: int,
    pipe: Connection,
    lock: Path,
    cores: tuple[int, ...],
) -> None:
    """What a process does: its trial, and the last word about it."""
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    if cores:
        os.sched_setaffinity(0, cores)

    def ask(message: Message) -> None:
        pipe.send(message)
        said = pipe.recv()
        if said != GO:
            raise _REFUSALS[said]

    watch = Watch(
        number,
        planned=lambda forecast: ask(Message("planned", forecast=forecast)),
        reached=lambda tick, score: ask(Message("reached", tick=tick, score=score)),
    )
    try:
        with _alone(lock):
            pipe.send(Message("began"))
            last = Message("scored", result=objective(settings, watch))
    except (NotNow, TooLarge, Unpromising) as refusal:
        last = Message("refused", why=type(refusal).__name__)
    except (KeyboardInterrupt, EOFError, BrokenPipeError, ConnectionResetError):
        last = Message("stopped")
    except SetsailError as error:
        last = Message("stopped") if error.exit_code >= _SIGNALLED else Message("failed", why=_told(error))
    except Exception as error:  # a process edge: told to who waits, whole in the trial's own file
        lock.with_suffix(".traceback").write_text("".join(traceback.format_exception(error)), "utf-8")
        last = Message("failed", why=f"{type(error).__name__}: {error}")
    try:
        pipe.send(last)
    except (BrokenPipeError, ConnectionResetError):
        return  # nobody is left who waits for it


def _told(error: SetsailError) -> str:
    return f"{error.message}{f' ({error.place})' if error.place else ''}"


def _end_with_the_parent() -> None:
    """Asks this process to stop when the one that searches has died."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Waits until no other process works on this trial."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
