"""What the engine's process tells its parent, and when: a first token and an end at once, tokens between together."""

from __future__ import annotations

import io
import json
import queue
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from setsail.engine import Finished, GenerationRequest, Token, wire, worker
from setsail.engine.contract import Event
from setsail.engine.worker import TOGETHER_SECONDS, Worker


class Over(Exception):
    """The script has come to its end."""


class Pipe(io.BytesIO):
    """Remembers what was in each flush."""

    def __init__(self) -> None:
        super().__init__()
        self.flushed: list[list[tuple[int, str | int]]] = []

    def flush(self) -> None:
        lines = [json.loads(line) for line in self.getvalue().splitlines()]
        self.flushed.append([(line["id"], line.get("token", line.get("finished"))) for line in lines])
        self.seek(0)
        self.truncate()


class Scripted:
    """An engine whose polls are written down, each with the seconds that it takes."""

    name, context, takes_grammars = "scripted", 100, False

    def __init__(self, script: list[tuple[float, list[Event]]]) -> None:
        self.now = 10.0
        self._script: Iterator[tuple[float, list[Event]]] = iter(script)

    def submit(self, request_id: int, request: GenerationRequest) -> None: ...

    def cancel(self, request_id: int) -> None: ...

    def close(self) -> None: ...

    def poll(self, timeout_seconds: float) -> list[Event]:
        try:
            seconds, events = next(self._script)
        except StopIteration:
            raise Over from None
        self.now += seconds
        return events


def flushes(monkeypatch: pytest.MonkeyPatch, script: list[tuple[float, list[Event]]]) -> list[list[tuple]]:
    engine, inbox, pipe = Scripted(script), queue.SimpleQueue(), Pipe()
    never_answered = 0  # without a request in flight the engine would not be asked again
    for request_id in sorted({never_answered, *(request_id for _, events in script for request_id, _ in events)}):
        inbox.put(wire.submit_message(request_id, GenerationRequest((1,), 99)))
    monkeypatch.setattr(worker, "time", SimpleNamespace(monotonic=lambda: engine.now))
    with pytest.raises(Over):
        Worker(engine, inbox, pipe).serve()
    return pipe.flushed


def test_tokens_between_the_first_and_the_end_leave_together(monkeypatch: pytest.MonkeyPatch) -> None:
    step = TOGETHER_SECONDS * 0.4
    script: list[tuple[float, list[Event]]] = [(step, [(1, Token(number))]) for number in range(8)]
    told = flushes(monkeypatch, [*script, (step, [(1, Finished("stop"))])])
    assert told == [[(1, 0)], [(1, 1), (1, 2), (1, 3)], [(1, 4), (1, 5), (1, 6)], [(1, 7), (1, "stop")]]


def test_an_engine_that_is_slower_than_that_is_passed_on_as_it_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    told = flushes(
        monkeypatch, [(2 * TOGETHER_SECONDS, [(1, Token(number)), (2, Token(number))]) for number in range(5)]
    )
    assert told == [[(1, number), (2, number)] for number in range(5)]


def test_another_answers_first_token_and_end_wait_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    step = TOGETHER_SECONDS * 0.1
    told = flushes(
        monkeypatch,
        [
            (1.0, [(1, Token(0))]),
            (step, [(1, Token(1))]),
            (step, [(1, Token(2)), (2, Token(0))]),
            (step, [(1, Token(3)), (2, Finished("length"))]),
            (step, [(1, Token(4))]),
            (step, []),
            (TOGETHER_SECONDS, []),
        ],
    )
    assert told == [[(1, 0)], [(1, 1), (1, 2), (2, 0)], [(1, 3), (2, "length")], [(1, 4)]]
