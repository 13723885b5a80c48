"""Predictions by one thread, which holds the model: questions that arrive together are answered together.

No HTTP here, and no model: both come from outside. The invariants: an answer goes to the job that asked for it and to
no other; every job gets on with each batch, however long another one is; what nobody wants any longer is not computed;
and a question that cannot be answered ends its own job only.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from typing import Literal

from setsail.base.errors import SetsailError
from setsail.serve.errors import fault_of
from setsail.tasks.prediction import Answer, Predictor, Question

State = Literal["starting", "ready", "failed", "closed"]
_LEAVE_SECONDS = 10.0  # for the batch that runs


class Job:
    """The questions of one request; `future` gets their answers, and may be cancelled from any thread."""

    def __init__(self, questions: Sequence[Question]) -> None:
        self.questions = questions
        self.future: Future[list[Answer]] = Future()
        self.answers: list[Answer] = []
        self.failed_at: int | None = None  # which question ended it

    def take(self, answer: Answer) -> None:
        """The answer to the next question; the last one completes the job."""
        self.answers.append(answer)
        if len(self.answers) == len(self.questions):
            self._end(lambda: self.future.set_result(self.answers))

    def fail(self, error: Exception, at: int | None = None) -> None:
        self.failed_at = at
        self._end(lambda: self.future.set_exception(error))

    def _end(self, end: Callable[[], None]) -> None:
        # Whoever asked may leave at this very moment.
        with contextlib.suppress(InvalidStateError):
            end()


Batch = list[tuple[Job, int]]  # the job and the number of its question


class PredictorThread:
    """A predictor that is loaded and asked in a thread of its own, many jobs' questions in one batch."""

    def __init__(self, load: Callable[[], Predictor], say: Callable[[str], None] | None = None) -> None:
        """`say` is told of a fault of a whole batch that none of its questions brings about alone."""
        self._load = load
        self._say = say or _say_to_stderr
        self._loaded: Future[Predictor] = Future()
        self._jobs: deque[Job] = deque()
        self._lock = threading.Condition()
        self._state: State = "starting"
        # A daemon: a batch that does not end must not keep the process.
        self._thread = threading.Thread(target=self._run, name="predictor", daemon=True)

    @property
    def state(self) -> State:
        return "failed" if self._state == "ready" and not self._thread.is_alive() else self._state

    @property
    def predictor(self) -> Predictor:
        """The loaded model; for what it is, not to be asked."""
        return self._loaded.result()

    def start(self) -> PredictorThread:
        """Returns when the model is loaded. Raises: what loading it raises."""
        self._thread.start()
        self._loaded.result()
        return self

    def submit(self, questions: Sequence[Question]) -> Job:
        """Asks, and returns at once."""
        assert questions, "a job asks something"
        job = Job(questions)
        with self._lock:
            if self._state == "ready":
                self._jobs.append(job)
                self._lock.notify_all()
                return job
        job.fail(SetsailError(f"the predictor is {self._state}"))
        return job

    def close(self) -> None:
        """Ends the thread after the batch that runs; what waits has failed. May be called twice."""
        with self._lock:
            was_closed, self._state = self._state == "closed", "closed"
            left, self._jobs = self._jobs, deque()
            self._lock.notify_all()
        for job in left:
            job.fail(SetsailError("the predictor was closed"))
        if self._thread.is_alive() and not was_closed:
            self._thread.join(_LEAVE_SECONDS)

    # What follows runs on the thread.

    def _run(self) -> None:
        try:
            predictor = self._load()
        except Exception as error:  # the thread's edge: whoever started it is told, by `start`
            self._state = "failed"
            self._loaded.set_exception(error)
            return
        with self._lock:
            self._state = "ready" if self._state == "starting" else self._state
        self._loaded.set_result(predictor)
        while batch := self._next_batch(predictor.at_once):
            _answer(predictor, batch, self._say)

    def _next_batch(self, most: int) -> Batch:
        """Up to `most` questions, one of each job in turn; nothing when the thread is to end."""
        with self._lock:
            while self._state == "ready":
                self._jobs = deque(job for job in self._jobs if not job.future.done())
                if self._jobs:
                    self._jobs.rotate(-1)
                    return _in_turn(self._jobs, most)
                self._lock.wait()
        return []


def _in_turn(jobs: Sequence[Job], most: int) -> Batch:
    """Unanswered questions: first one of each job, then a second one, until there are enough.

    A job's questions keep their order.
    """
    turns = range(min(most, max(len(job.questions) - len(job.answers) for job in jobs)))
    waiting = ((job, len(job.answers) + turn) for turn in turns for job in jobs)
    batch = [(job, number) for job, number in waiting if number < len(job.questions)]
    return batch[:most]


def _answer(predictor: Predictor, batch: Batch, say: Callable[[str], None]) -> None:
    try:
        answers = predictor.answers([job.questions[number] for job, number in batch])
        answered = list(zip(batch, answers, strict=True))
    except Exception as error:  # told below, to whoever asked: alone, the question that cannot be answered fails again
        faults = [_answer_alone(predictor, job, number) for job, number in batch]
        if not any(faults):
            say(f"a batch of {len(batch)} questions failed, and none of them alone: {fault_of(error)}")
        return
    for (job, _), answer in answered:
        job.take(answer)


def _answer_alone(predictor: Predictor, job: Job, number: int) -> bool:
    """Whether the question failed."""
    if job.future.done():
        return False
    try:
        (answer,) = predictor.answers([job.questions[number]])
    except Exception as error:  # handed to whoever asked
        job.fail(error, at=number)
        return True
    job.take(answer)
    return False


def _say_to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
