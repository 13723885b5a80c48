"""An engine without a model, for tests and dry runs: it answers with the prompt's ids reversed, at a set pace.

An echo "model" is a small JSON file: {"tokens_per_second": 50, "rounds": 1, "load_seconds": 0}, every key optional;
`rounds` is how often the reversed prompt is repeated, pace 0 or none means as fast as it can. Everything else is as in
a real engine: slots, stop ids, max_tokens, cancelling, errors for prompts over the context.
"""

from __future__ import annotations

import json
import time
from collections import deque
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path

from setsail.base.errors import ModelError
from setsail.engine.contract import Event, GenerationRequest, Token, fit_to_context, refuse_grammar
from setsail.engine.slots import Slots


@dataclass(frozen=True)
class EchoSettings:
    """The content of an echo model's file."""

    tokens_per_second: float = 0.0
    rounds: int = 1
    load_seconds: float = 0.0


@dataclass
class _Running:
    request: GenerationRequest
    reply: deque[int]
    num_emitted: int = 0


class EchoEngine:
    """Echoes up to `slots` requests at once, one token of each per step; the rest wait in order."""

    name = "echo"
    takes_grammars = False

    def __init__(self, settings: EchoSettings, *, context: int, slots: int) -> None:
        self.context = context
        self._settings = settings
        self._slots = Slots(slots, self._start)
        self._next_step = 0.0

    def submit(self, request_id: int, request: GenerationRequest) -> None:
        refuse_grammar(self.name, request)
        self._slots.add(request_id, fit_to_context(request, self.context))

    def cancel(self, request_id: int) -> None:
        self._slots.drop(request_id)

    def poll(self, timeout_seconds: float) -> list[Event]:
        events = self._slots.take_cancelled()
        self._slots.fill()
        if not self._slots.running or not self._wait_for_step(timeout_seconds):
            return events
        for request_id in list(self._slots.running):
            events += self._step(request_id)
        return events

    def tokenize(self, text: str) -> list[int]:
        return list(text.encode("utf-8"))

    def apply_template(self, messages: list[dict[str, str]]) -> str:
        return "".join(f"{message['role']}: {message['content']}\n" for message in messages)

    def close(self) -> None:
        """Nothing is held."""

    def _start(self, _: int, request: GenerationRequest) -> _Running:
        turns = repeat(request.prompt_ids[::-1], self._settings.rounds)
        return _Running(request, deque(chain.from_iterable(turns)))

    def _wait_for_step(self, timeout_seconds: float) -> bool:
        if not self._settings.tokens_per_second:
            return True
        pause = self._next_step - time.monotonic()
        if pause > timeout_seconds:
            time.sleep(timeout_seconds)
            return False
        time.sleep(max(pause, 0.0))
        self._next_step = time.monotonic() + 1.0 / self._settings.tokens_per_second
        return True

    def _step(self, request_id: int) -> list[Event]:
        running = self._slots.running[request_id]
        request = running.request
        if not running.reply or running.reply[0] in request.stop_ids:
            return [self._slots.end(request_id, "stop")]
        token_id = running.reply.popleft()
        running.num_emitted += 1
        certain = ((token_id, 0.0),) if request.num_logprobs else ()
        events: list[Event] = [(request_id, Token(token_id, 0.0 if certain else None, certain))]
        if running.num_emitted == request.max_tokens:
            events.append(self._slots.end(request_id, "length"))
        return events


def open_engine(model: Path, *, context: int, slots: int, threads: int | None, grammars: bool = False) -> EchoEngine:
    """An echo engine with the settings of the file `model`."""
    try:
        settings = EchoSettings(**json.loads(model.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(
            f"not an echo model: {error}", place=str(model), hint='write {"tokens_per_second": 50}'
        ) from None
    time.sleep(settings.load_seconds)
    return EchoEngine(settings, context=context, slots=slots)
