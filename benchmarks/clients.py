"""Clients that ask a server over and over, and what they saw: tokens, the wait for the first one, and what broke.

A client asks its next question as soon as it has the last answer (a closed loop). After the cell's seconds nobody asks
anew; what is under way is waited for, up to `PATIENCE_SECONDS`, and then cut. Tokens of cut answers count.
"""

from __future__ import annotations

import http.client
import itertools
import json
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

PATIENCE_SECONDS = 60.0  # long enough that the slowest contestant answers something


@dataclass(frozen=True)
class Question:
    """What is asked: as messages for who renders them, as ids for who does not."""

    messages: list[dict[str, str]]
    ids: list[int]
    stop_ids: list[int]
    max_tokens: int


class Asked(Protocol):
    """Somebody who answers: yields how many more tokens there are, each time that there are some."""

    def ask(self, question: Question, until: float) -> Iterator[int]: ...


@dataclass
class Seen:
    """What the clients of one cell saw together."""

    tokens: int = 0
    answers: int = 0
    first_seconds: list[float] = field(default_factory=list)  # one for each question, cut ones as long as they waited
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0


class OverHttp:
    """Any server of the OpenAI API, streamed. Its own count of tokens is taken, `count_tokens` where it has none."""

    def __init__(self, port: int, model: str, count_tokens: Callable[[str], int]) -> None:
        self._port, self._model, self._count_tokens = port, model, count_tokens

    def ask(self, question: Question, until: float) -> Iterator[int]:
        body = {
            "model": self._model,
            "messages": question.messages,
            "max_tokens": question.max_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        text, counted, usage = "", 0, None
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=max(1.0, until - time.monotonic()))
        try:
            connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            if response.status != http.client.OK:
                raise RuntimeError(f"{response.status} {response.read(300)!r}")
            for line in response:
                if not line.startswith(b"data: {"):
                    continue
                chunk = json.loads(line[6:])
                usage = chunk.get("usage") or usage
                if more := "".join(choice["delta"].get("content") or "" for choice in chunk["choices"]):
                    text, counted = text + more, counted + 1
                    yield 1
            yield (usage["completion_tokens"] if usage else self._count_tokens(text)) - counted
        finally:
            connection.close()


class OverPipe:
    """A bare library in a process of its own: a line of JSON a question, a line a step that gave it tokens.

    To the process: `{"id", "ids", "stop_ids", "max_tokens"}`; from it `{"id", "tokens", "done"}`.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._numbers = itertools.count()
        self._waiting: dict[int, queue.SimpleQueue[dict[str, Any]]] = {}
        self._writing = threading.Lock()
        threading.Thread(target=self._read, daemon=True).start()

    def ask(self, question: Question, until: float) -> Iterator[int]:
        number = next(self._numbers)
        told: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._waiting[number] = told
        line = {"id": number, "ids": question.ids, "stop_ids": question.stop_ids, "max_tokens": question.max_tokens}
        assert self._process.stdin is not None
        with self._writing:
            self._process.stdin.write(json.dumps(line) + "\n")
            self._process.stdin.flush()
        try:
            while True:
                event = told.get(timeout=max(0.0, until - time.monotonic()))
                if problem := event.get("problem"):
                    raise RuntimeError(problem)
                yield event["tokens"]
                if event["done"]:
                    return
        except queue.Empty:
            raise TimeoutError from None

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event = json.loads(line)
            self._waiting[event["id"]].put(event)


def closed_loop(asked: Asked, questions: Sequence[Sequence[Question]], seconds: float) -> Seen:
    """Each list of questions is one client's; who comes to its end begins anew."""
    seen, lock = Seen(), threading.Lock()
    began = time.monotonic()
    latest, cut = began + seconds, began + seconds + PATIENCE_SECONDS

    def client(mine: Sequence[Question]) -> None:
        for question in itertools.cycle(mine):
            asked_at = time.monotonic()
            if asked_at >= latest:
                return
            first, tokens, problem = None, 0, ""
            try:
                for more in asked.ask(question, cut):
                    tokens += more
                    if more and first is None:
                        first = time.monotonic() - asked_at
                    if time.monotonic() > cut:
                        raise TimeoutError
            except TimeoutError:
                problem = "cut"
            except Exception as error:  # whatever a peer does ends one question only
                problem = f"{type(error).__name__}: {error}"
            with lock:
                seen.tokens += tokens
                seen.answers += not problem
                seen.first_seconds.append(time.monotonic() - asked_at if first is None else first)
                if problem:
                    seen.problems.append(problem)

    threads = [threading.Thread(target=client, args=(mine,)) for mine in questions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen.seconds = time.monotonic() - began
    return seen
