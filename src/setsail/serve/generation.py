"""One request while it runs: wait for a slot, submit, turn tokens into text, stop.

The invariants: the slot is given back when the engine is done, when the caller leaves the block or when anything
fails, whichever comes first; and every token that the engine made is counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from setsail.engine.contract import Finished, GenerationRequest, Token
from setsail.serve.errors import ApiError
from setsail.serve.gate import Ticket
from setsail.serve.models import LiveModel
from setsail.tokens.stream import Detokenizer


@dataclass(frozen=True)
class Piece:
    """Text that may be shown now, and the tokens that came with it (their text may follow in a later piece)."""

    text: str
    tokens: tuple[Token, ...]


class Generation:
    """A running request; iterate `pieces` once, then read `finish_reason`, `num_tokens` and `num_cached`."""

    def __init__(self, model: LiveModel, request: GenerationRequest, ticket: Ticket, stop: tuple[str, ...]) -> None:
        self.request = request
        self.num_tokens = 0
        self.num_cached: int | None = None  # of the prompt, known at the end where the engine says
        self.finish_reason: str | None = None
        self._model = model
        self._ticket = ticket
        self._detokenizer = Detokenizer(model.served.tokenizer, stop)

    async def pieces(self) -> AsyncGenerator[Piece]:
        """Text as it comes; close it (`aclosing`) to cancel. Raises `ApiError` 502 when the engine fails."""
        try:
            await self._ticket.turn()
            await self._model.wake()
            self._model.refuse_grammar(self.request)
            async for piece in self._pieces_of_the_engine():
                yield piece
        finally:
            self._ticket.release()

    async def _pieces_of_the_engine(self) -> AsyncGenerator[Piece]:
        events: asyncio.Queue[Token | Finished] = asyncio.Queue()

        def arrive(event: Token | Finished) -> None:
            # A client that reads slowly must not hold a slot that the engine has already left.
            if isinstance(event, Finished):
                self._ticket.release()
            events.put_nowait(event)

        submission = self._model.submit(self.request, arrive)
        try:
            while self.finish_reason is None:
                piece = self._digest(await _next_events(events))
                if piece.text or piece.tokens:
                    yield piece
        finally:
            submission.cancel()

    def _digest(self, events: list[Token | Finished]) -> Piece:
        texts: list[str] = []
        tokens: list[Token] = []
        for event in events:
            if isinstance(event, Finished):
                self._finish(event)
                texts.append(self._detokenizer.finish())
                break
            tokens.append(event)
            self.num_tokens += 1
            texts.append(self._detokenizer.push(event.token_id))
            if self._detokenizer.stopped:
                self.finish_reason = "stop"
                break
        return Piece("".join(texts), tuple(tokens))

    def _finish(self, event: Finished) -> None:
        if event.reason in ("error", "cancelled"):
            raise ApiError(502, f"the engine failed: {event.message or event.reason}", code="engine_failed")
        self.finish_reason = event.reason
        self.num_cached = event.num_cached


async def _next_events(events: asyncio.Queue[Token | Finished]) -> list[Token | Finished]:
    """At least one event, and whatever else is there already: a slow reader then gets fewer, longer pieces."""
    arrived = [await events.get()]
    while not events.empty():
        arrived.append(events.get_nowait())
    return arrived
