"""A server that speaks OpenAI's API as an engine: vLLM, SGLang, llama.cpp's, Ollama, or our own.

The prompt is still `tokens.render`'s, sent as token ids wherever the server takes them: what was trained is what is
served, whoever computes it. One event loop in a thread of its own holds all connections; cancelling closes one, which
frees its slot at the far end. The key is read from the environment here, and leaves this process in a header only.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import httpx

from setsail.base.errors import UserError
from setsail.base.recipe_data import Server
from setsail.engine.contract import Event, Finished, GenerationRequest, fit_to_context
from setsail.engine.event_stream import BrokenAnswer
from setsail.engine.remote_answer import AnswerReader
from setsail.engine.remote_manner import Asking, Manner, explained, find_manner
from setsail.engine.remote_web import Refusal, Web
from setsail.engine.slots import Slots
from setsail.tokens.tokenizer import Tokenizer, load

OPEN_SECONDS = 60.0
ANSWER_SECONDS = 900.0
_BUSY = (429, 503)
_PATIENCE_SECONDS = 60.0
_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 10.0
_GOODBYE_SECONDS = 1.0

Result = TypeVar("Result")


class RemoteEngine:
    """Asks at most `slots` things at once; a server that says it is busy is asked again for a minute."""

    def __init__(self, web: Web, asking: Asking, *, slots: int, loop: _Loop, name: str = "remote") -> None:
        self.name = name
        self.context = asking.context
        self.takes_grammars = asking.manner.takes_grammars
        self.note = asking.manner.note
        self._web = web
        self._asking = asking
        self._loop = loop
        self._slots = Slots(slots, self._start)
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def submit(self, request_id: int, request: GenerationRequest) -> None:
        if request.grammar is not None and not self.takes_grammars:
            raise UserError("this server takes no grammar", hint='use the "llamacpp" engine')
        fitting = fit_to_context(request, self.context, self._asking.tokenizer.num_ids)
        self._asking.body(fitting)  # what cannot be asked is refused now
        self._slots.add(request_id, fitting)

    def cancel(self, request_id: int) -> None:
        work = self._slots.drop(request_id)
        if work is not None:
            work.cancel()

    def poll(self, timeout_seconds: float) -> list[Event]:
        return self._slots.drain(self._events, timeout_seconds)

    def close(self) -> None:
        """Close every connection."""
        for request_id in list(self._slots.running):
            self.cancel(request_id)
        self._loop.close(self._web)

    def _start(self, request_id: int, request: GenerationRequest) -> Future[None]:
        return self._loop.start(self._answer(request_id, request))

    async def _answer(self, request_id: int, request: GenerationRequest) -> None:
        """Everything that becomes of one request, ending in exactly one `Finished` unless it is cancelled."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._ask_until_free(request_id, request)
        except TimeoutError:
            words = f"the server at {self._web.url}: no end after {ANSWER_SECONDS:g} s"
            self._events.put((request_id, Finished("error", words)))
        except Exception as error:  # the request's edge: it ends, the others go on
            self._events.put((request_id, Finished("error", self._web.explained(error))))

    async def _ask_until_free(self, request_id: int, request: GenerationRequest) -> None:
        waited, pause = 0.0, _PAUSE_SECONDS
        while True:
            try:
                return await self._ask(request_id, request)
            except Refusal as refusal:
                # Refused before anything was written: asking again repeats nothing.
                if refusal.status not in _BUSY or waited >= _PATIENCE_SECONDS:
                    raise
                wanted = pause if refusal.retry_after_seconds is None else refusal.retry_after_seconds
                if wanted > _PATIENCE_SECONDS:
                    raise
                nap = min(max(wanted, 0.1), _LONGEST_PAUSE_SECONDS)
                await asyncio.sleep(nap)
                waited, pause = waited + nap, 2 * pause

    async def _ask(self, request_id: int, request: GenerationRequest) -> None:
        asking = self._asking
        reader = AnswerReader(request, asking.manner, asking.tokenizer)
        async with self._web.events(asking.manner.path, asking.body(request), plain=asking.manner.plain) as events:
            async for event in events:
                for token in reader.take(event):
                    self._events.put((request_id, token))
                if reader.end is not None:
                    break
            if reader.end is None:
                raise BrokenAnswer("the answer broke off")
            self._events.put((request_id, reader.end))
            if reader.end_was_told:
                await _rest_of(events)


class _Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="remote", daemon=True)
        self._thread.start()

    def start(self, work: Coroutine[Any, Any, Result]) -> Future[Result]:
        """Starts a piece of work; cancelling the future cancels it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self, web: Web) -> None:
        """Ends what runs, the connections, and the thread."""
        self.start(self._end(web)).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self, web: Web) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await web.close()


async def _rest_of(events: Any) -> None:
    """Reads to the end of a whole answer: leaving before it looks like a client that gave up."""
    try:
        async with asyncio.timeout(_GOODBYE_SECONDS):
            async for _ in events:
                pass
    except (TimeoutError, BrokenAnswer, httpx.HTTPError):
        pass  # the answer is there already


def open_engine(
    model: Path,
    *,
    server: Server,
    context: int,
    slots: int,
    grammars: bool = False,
    key: str | None = None,
    name: str = "remote",
) -> RemoteEngine:
    """The engine of a server, with the tokenizer in the folder `model`; how it is asked is found out now.

    A `key` stands for the one that the server's variable holds.

    Raises: UserError for a key or a model that it does not know, ModelError when it does not read what was trained,
    SystemRefusal when it cannot be reached.
    """
    tokenizer = load(model)
    web = Web(server, key=key)
    loop = _Loop()
    with ExitStack() as unless_open:
        unless_open.callback(loop.close, web)
        work = _ready_manner(web, tokenizer, context=context, grammars=grammars)
        try:
            manner, context = loop.start(asyncio.wait_for(work, OPEN_SECONDS)).result()
        except TimeoutError:
            raise explained(web, BrokenAnswer(f"it was not ready within {OPEN_SECONDS:g} s")) from None
        except (Refusal, BrokenAnswer, httpx.HTTPError) as error:
            raise explained(web, error) from None
        unless_open.pop_all()
    asking = Asking(web.model, manner, tokenizer, context)
    return RemoteEngine(web, asking, slots=slots, loop=loop, name=name)


async def _ready_manner(web: Web, tokenizer: Tokenizer, *, context: int, grammars: bool) -> tuple[Manner, int]:
    """As `find_manner`, waiting for a server that says it is still loading."""
    while True:
        try:
            return await find_manner(web, tokenizer, context=context, grammars=grammars)
        except Refusal as refusal:
            if refusal.status not in _BUSY:
                raise
        await asyncio.sleep(_PAUSE_SECONDS)
