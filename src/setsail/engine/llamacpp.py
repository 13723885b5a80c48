"""llama.cpp through xllamacpp: any GGUF that it knows, and the reading of the file that Ollama and others share.

The engine that tokenizes and applies the chat template as the file itself says, and that gives the likeliest tokens
beside the chosen one, up to the whole vocabulary. Each request has a thread that waits for it; the work is the
server's.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from pathlib import Path

from setsail.base.errors import ModelError
from setsail.engine.cache import LLAMACPP_GROUP
from setsail.engine.contract import Event, Finished, GenerationRequest, Token, fit_to_context
from setsail.engine.gguf_limits import read_limits
from setsail.engine.llamacpp_generation import Generation
from setsail.engine.llamacpp_server import LlamaServer
from setsail.engine.slots import Slots


class LlamaCppEngine:
    """A server with as many slots as ours; its own queue is never used."""

    name = "llamacpp"
    takes_grammars = True

    def __init__(self, server: LlamaServer, *, context: int, slots: int, num_tokens: int) -> None:
        self.context = context
        self._server = server
        self._num_tokens = num_tokens
        self._slots = Slots(slots, self._start)
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def submit(self, request_id: int, request: GenerationRequest) -> None:
        self._slots.add(request_id, fit_to_context(request, self.context, self._num_tokens))

    def cancel(self, request_id: int) -> None:
        generation = self._slots.drop(request_id)
        if generation is not None:
            generation.cancelled.set()

    def poll(self, timeout_seconds: float) -> list[Event]:
        return self._slots.drain(self._events, timeout_seconds)

    def tokenize(self, text: str) -> list[int]:
        return self._server.tokenize(text)

    def apply_template(self, messages: list[dict[str, str]]) -> str:
        return self._server.apply_template(messages)

    def close(self) -> None:
        """Stop what runs; the memory goes with the process."""
        for request_id in list(self._slots.running):
            self.cancel(request_id)

    def _start(self, request_id: int, request: GenerationRequest) -> Generation:
        def emit(what: Token | Finished) -> None:
            self._events.put((request_id, what))

        generation = Generation(self._server, request, self._num_tokens, emit)
        threading.Thread(target=_run, args=(generation,), daemon=True).start()
        return generation


def open_engine(
    model: Path,
    *,
    context: int,
    slots: int,
    threads: int | None,
    grammars: bool = False,
    cache: str = "auto",
    adapters: Sequence[Path] = (),
) -> LlamaCppEngine:
    """An engine with a GGUF file, and adapters of it.

    Raises: ModelError for a file that is damaged or of an architecture that llama.cpp does not read, or of heads that
        its int8 cache does not take.
    """
    limits = read_limits(model)
    if cache == "int8" and limits.head_size % LLAMACPP_GROUP:
        what = f"llama.cpp keeps int8 in groups of {LLAMACPP_GROUP}, which do not divide heads of {limits.head_size}"
        raise ModelError(what, place=str(model), hint="say serve.cache: f16, or leave it out")
    context = min(context, limits.context or context)
    server = LlamaServer(model, context=context, slots=slots, threads=threads, cache=cache, adapters=adapters)
    return LlamaCppEngine(server, context=context, slots=slots, num_tokens=limits.num_tokens)


def _run(generation: Generation) -> None:
    try:
        generation.run()
    except Exception as error:  # the thread's edge: the request ends, the others go on
        generation.emit(Finished("error", f"llama.cpp failed: {error}"))
