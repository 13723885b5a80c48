"""One thread that answers many jobs: each gets its own, in turn, and nothing that nobody wants any longer."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from setsail.base.errors import ModelError, SetsailError, UserError
from setsail.serve.batching import Job, PredictorThread
from setsail.tasks.prediction import Answer, Predictor, Question

from .toy_predictors import ToyPredictor


def questions(*texts: str) -> list[Question]:
    return [Question({"text": text}, [text]) for text in texts]


def labels(job: Job) -> list[str]:
    return [answer.said["label"] for answer in job.future.result()]


@pytest.fixture
def toy() -> ToyPredictor:
    return ToyPredictor()


@pytest.fixture
def thread(toy: ToyPredictor):
    made = PredictorThread(lambda: toy).start()
    yield made
    toy.open.set()
    made.close()


def hold(thread: PredictorThread, toy: ToyPredictor) -> Job:
    """A job that is being answered, and answered only when the toy is opened."""
    toy.open.clear()
    job = thread.submit(questions("first"))
    assert toy.asked.wait(10)
    return job


def test_what_arrives_together_is_answered_in_one_batch(thread: PredictorThread, toy: ToyPredictor) -> None:
    first = hold(thread, toy)
    jobs = [thread.submit(questions(f"job {number}")) for number in range(3)]
    toy.open.set()
    assert labels(first) == ["first"] and [labels(job) for job in jobs] == [["0"], ["1"], ["2"]]
    assert sorted(map(len, toy.batches)) == [1, 3]


def test_a_job_alone_is_answered_in_its_own_order(thread: PredictorThread, toy: ToyPredictor) -> None:
    job = thread.submit(questions(*(f"text {number}" for number in range(10))))
    assert labels(job) == [str(number) for number in range(10)]
    assert [len(batch) for batch in toy.batches] == [4, 4, 2]


def test_a_short_job_does_not_wait_for_a_long_one(thread: PredictorThread, toy: ToyPredictor) -> None:
    hold(thread, toy)
    long = thread.submit(questions(*(f"long {number}" for number in range(100))))
    short = thread.submit(questions("short"))
    toy.open.set()
    assert labels(short) == ["short"] and labels(long) == [str(number) for number in range(100)]
    assert next(number for number, batch in enumerate(toy.batches) if "short" in batch) <= 1


def test_what_nobody_wants_is_not_computed(thread: PredictorThread, toy: ToyPredictor) -> None:
    hold(thread, toy)
    left = thread.submit(questions(*(f"left {number}" for number in range(100))))
    assert left.future.cancel()
    toy.open.set()
    assert labels(thread.submit(questions("last"))) == ["last"]
    assert sum(text.startswith("left") for batch in toy.batches for text in batch) == 0


@pytest.mark.parametrize(("word", "kind"), [("bad", ZeroDivisionError), ("huge", UserError)])
def test_a_question_that_fails_ends_its_own_job_alone(
    thread: PredictorThread, toy: ToyPredictor, word: str, kind: type[Exception]
) -> None:
    hold(thread, toy)
    fine, wrong, other = (thread.submit(questions(*texts)) for texts in (("a",), ("b", f"a {word}"), ("c", "d")))
    toy.open.set()
    assert labels(fine) == ["a"] and labels(other) == ["c", "d"]
    assert isinstance(wrong.future.exception(), kind) and wrong.failed_at == 1
    assert labels(thread.submit(questions("still here"))) == ["here"]


class Crowded(ToyPredictor):
    """A predictor for which two questions at once are too many, as memory may be."""

    def answers(self, questions: Sequence[Question]) -> Sequence[Answer]:
        if len(questions) > 1:
            raise MemoryError("planted-prompt")
        return super().answers(questions)


def test_a_fault_of_a_batch_that_does_not_come_again_is_logged() -> None:
    toy, said = Crowded(), []
    thread = PredictorThread(lambda: toy, said.append).start()
    try:
        assert labels(thread.submit(questions("a b", "c d", "e f"))) == ["b", "d", "f"]
        # Answers leave before the line is written; the next job is taken after it.
        assert labels(thread.submit(questions("g h"))) == ["h"]
        assert len(said) == 1 and said[0].startswith("a batch of 3 questions failed, and none of them alone: Memory")
        assert "planted" not in said[0] and "test_batching.py" in said[0]
        with pytest.raises(ZeroDivisionError):
            thread.submit(questions("bad", "i j")).future.result()
        assert labels(thread.submit(questions("k l"))) == ["l"]
        assert len(said) == 1
    finally:
        thread.close()


def test_closing_ends_what_waits_and_refuses_what_comes(thread: PredictorThread, toy: ToyPredictor) -> None:
    hold(thread, toy)
    waiting = thread.submit(questions("waiting"))
    closing = threading.Thread(target=thread.close)
    closing.start()
    assert isinstance(waiting.future.exception(), SetsailError)
    toy.open.set()
    closing.join()
    assert thread.state == "closed"
    assert isinstance(thread.submit(questions("late")).future.exception(), SetsailError)
    thread.close()


def test_a_model_that_cannot_be_loaded_is_told_to_whoever_starts_it() -> None:
    def load() -> Predictor:
        raise ModelError("the folder is damaged")

    thread = PredictorThread(load)
    with pytest.raises(ModelError, match="damaged"):
        thread.start()
    assert thread.state == "failed"
