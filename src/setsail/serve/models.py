"""A model as it is served: its name, tokenizer, engine and gate, and whether it answers.

The invariant: an engine that is to be started on first use is started once, in a thread, and whoever waits for it
learns how that ended.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from setsail.base.errors import SetsailError
from setsail.base.recipe import Serve
from setsail.engine.contract import Finished, GenerationRequest, Token
from setsail.engine.process import EngineProcess, Submission
from setsail.serve.errors import ApiError
from setsail.serve.gate import Gate, GateFull, Ticket
from setsail.tokens.tokenizer import Tokenizer

PROBE_SECONDS = 4.0
_FRESH_SECONDS = 2.0


@dataclass(frozen=True)
class ServedModel:
    """What `build_app` is given for each model; with `start` the engine is not running yet, and starts on first use.

    `/predict` asks it as its task has trained it: a text to go on with, or a user's message behind the `system` prompt.
    """

    name: str
    tokenizer: Tokenizer
    engine: EngineProcess
    context: int
    created: int
    lineage: str
    description: str = ""
    start: Callable[[], object] | None = None
    task: str = "chat"
    system: str = ""
    does: str = "a language model: it writes text"
    settings: Serve | None = None  # its own, where several runs are served
    adapter: int | None = None  # its own, of those that the engine was opened with

    @property
    def paths(self) -> tuple[str, ...]:
        """The addresses at which it answers."""
        return ("/v1/chat/completions", "/v1/completions", "/predict")


def enter_gate(gate: Gate) -> Ticket:
    """A place at the gate. Raises `ApiError` 429 when the queue is full."""
    try:
        return gate.enter()
    except GateFull as full:
        message = f"{gate.slots} requests are running and {gate.num_waiting} are waiting"
        hint = f"try again in {full.retry_after_seconds} s"
        raise ApiError(
            429, message, code="queue_full", hint=hint, retry_after_seconds=full.retry_after_seconds
        ) from None


class LiveModel:
    """A served model with what changes while it runs; used from one event loop."""

    def __init__(self, served: ServedModel, settings: Serve) -> None:
        self.served = served
        self.settings = served.settings or settings
        self.gate = Gate(self.settings.slots, self.settings.queue)
        self._starting: asyncio.Task[object] | None = None
        self._probing: asyncio.Task[bool] | None = None
        self._last_event_at = -_FRESH_SECONDS

    @property
    def asleep(self) -> bool:
        """Whether the engine waits for its first use."""
        return self.served.start is not None and self._starting is None

    @property
    def state(self) -> str:
        """`asleep`, `starting`, `ready`, `restarting`, `failed` or `closed`."""
        return "asleep" if self.asleep else self.served.engine.state

    def enter(self) -> Ticket:
        """A place at the gate. Raises `ApiError`: 503 when the engine is down, 429 when the queue is full."""
        if self.state in ("failed", "closed", "restarting"):
            raise self._engine_down()
        return enter_gate(self.gate)

    def _engine_down(self) -> ApiError:
        failure = self.served.engine.failure
        message = f"the engine of {self.served.name} is {self.state}" + (f": {failure.message}" if failure else "")
        retry_after_seconds = 2 if self.state == "restarting" else None
        return ApiError(503, message, code="engine_down", retry_after_seconds=retry_after_seconds)

    async def wake(self) -> None:
        """Returns when the engine runs. Raises `ApiError` 503 when it cannot be started."""
        if self.served.start is None:
            return
        if self._starting is None:
            self._starting = asyncio.create_task(asyncio.to_thread(self.served.start))
        try:
            # Shielded: the client that came first may leave without spoiling it for the others.
            await asyncio.shield(self._starting)
        except SetsailError as error:
            message = f"the engine of {self.served.name} could not be started: {error.message}"
            raise ApiError(503, message, code="engine_down") from None

    def refuse_grammar(self, request: GenerationRequest) -> None:
        """Raises `ApiError` 400 when the request asks for a grammar and the engine, which runs, takes none."""
        engine = self.served.engine
        if request.grammar is not None and engine.state == "ready" and not engine.takes_grammars:
            message = f"response_format: the engine {engine.name} of {self.served.name} cannot hold answers to it"
            hint = "serve with --engine llamacpp, or leave response_format out"
            raise ApiError(400, message, code="unsupported_field", param="response_format", hint=hint)

    def submit(self, request: GenerationRequest, on_event: Callable[[Token | Finished], None]) -> Submission:
        """Sends a request to the engine; `on_event` is called on the event loop."""
        loop = asyncio.get_running_loop()

        def arrive(event: Token | Finished) -> None:
            if not (isinstance(event, Finished) and event.reason == "error"):  # a failure is no sign of life
                self._last_event_at = time.monotonic()
            on_event(event)

        def receive(event: Token | Finished) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(arrive, event)

        return self.served.engine.submit(replace(request, adapter=self.served.adapter), receive)

    async def is_alive(self) -> bool:
        """Whether the engine produced a token within the last seconds, or does so now when asked; cached."""
        if self.state != "ready":
            return False
        if time.monotonic() - self._last_event_at < _FRESH_SECONDS:
            return True
        if self._probing is None or self._probing.done():
            self._probing = asyncio.create_task(self._probe())
        return await asyncio.shield(self._probing)

    async def _probe(self) -> bool:
        alive = await asyncio.to_thread(self.served.engine.probe, PROBE_SECONDS)
        if alive:
            self._last_event_at = time.monotonic()
        return alive
