"""What each address answers. The two generating routes share one path from body to answer.

Each route is a plain ASGI application, since it must hear the client leave; guards stand before them (guard.py).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from setsail.base.tool_calls import Call as ToolCall
from setsail.engine.contract import GenerationRequest
from setsail.serve.answers import ChatShape, Heading, Json, TextShape, usage
from setsail.serve.calls import CallReader, as_openai
from setsail.serve.errors import ApiError
from setsail.serve.feedback.keeping import asked_of, said_of
from setsail.serve.gate import Ticket
from setsail.serve.generation import Generation, Piece
from setsail.serve.models import LiveModel
from setsail.serve.note import NOTE, Note
from setsail.serve.prompt import chat_request, completion_request
from setsail.serve.schema import ChatBody, CompletionBody, read_body
from setsail.serve.service import Live, Service
from setsail.serve.wire import EventStream, send_json, supervise
from setsail.serve.wire import read_body as read_bytes


@dataclass
class Call:
    """One request to a generating route on its way through."""

    model: LiveModel
    body: ChatBody | CompletionBody
    note: Note
    ticket: Ticket
    service: Service
    path: str

    def keep(self, answer_id: str, text: str, calls: Sequence[Json], reason: str) -> None:
        """Hands the finished answer to the log, where there is one."""
        keeping, served = self.service.keeping, self.model.served
        if keeping.log is not None:
            told = {"asked": asked_of(self.body, served.tokenizer), "said": said_of(text, calls), "reason": reason}
            keeping.keep(answer_id, self.note, served, served.task, path=self.path, **told)


def generate(service: Service, path: str, kind: type[ChatBody] | type[CompletionBody]) -> ASGIApp:
    """`POST /v1/chat/completions` or `/v1/completions`, streaming or not."""

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        body = read_body(kind, await read_bytes(scope, receive))
        model = service.model_at(path, body.model)
        assert isinstance(model, LiveModel), "predictors do not answer here"
        note: Note = scope[NOTE]
        note.asks(model.served.name, model.served.lineage)
        ticket = model.enter()
        call = Call(model, body, note, ticket, service, path)
        stream = EventStream(send)
        try:
            work = _stream(call, stream) if body.stream else _whole(call, send)
            seconds = service.settings.deadline_seconds
            await supervise(work, receive, seconds=seconds, time_is_up=service.time_is_up)
        except ApiError as error:
            if not stream.started:
                raise
            await stream.fail(error)
        finally:
            ticket.release()

    return route


async def _begin(call: Call) -> tuple[Generation, ChatShape | TextShape]:
    """The prompt rendered and checked (in a thread, tokenising takes a while), and the shape of the answer."""
    served, settings, body = call.model.served, call.model.settings, call.body
    request: GenerationRequest
    if isinstance(body, ChatBody):
        request = await asyncio.to_thread(chat_request, served, body, settings)
    else:
        request = await asyncio.to_thread(completion_request, served, body, settings)
    call.note.num_prompt = len(request.prompt_ids)
    return Generation(call.model, request, call.ticket, body.stop), _shape(call)


def _shape(call: Call) -> ChatShape | TextShape:
    body, served = call.body, call.model.served
    chat = isinstance(body, ChatBody)
    heading = Heading(
        id=call.service.keeping.new_id("chatcmpl" if chat else "cmpl", call.note),
        created=int(time.time()),
        model=served.name,
        lineage=served.lineage,
        tokenizer=served.tokenizer,
        logprobs=body.num_logprobs > 0,
        num_top_logprobs=(body.top_logprobs if isinstance(body, ChatBody) else body.logprobs) or 0,
        include_usage=body.include_usage,
        return_token_ids=body.return_token_ids,
    )
    return ChatShape(heading) if chat else TextShape(heading)


async def _stream(call: Call, stream: EventStream) -> None:
    """Chunks as they come, then the reason for the end, the counts if wanted, and `[DONE]`."""
    generation, shape = await _begin(call)
    held, reader = Piece("", ()), _reader(call)
    shown: list[str] = []
    async with aclosing(generation.pieces()) as pieces:
        async for piece in pieces:
            call.note.has_written(generation.num_tokens)
            if not stream.started and (first := shape.first()) is not None:
                await stream.event(first)
            held = Piece(held.text + reader.push(piece.text), held.tokens + piece.tokens)
            # Tokens whose text is still held back wait for it; their log-probabilities come with it.
            if held.text:
                await stream.event(shape.delta(held.text, held.tokens))
                shown.append(held.text)
                held = Piece("", ())
    if not stream.started and (first := shape.first()) is not None:
        await stream.event(first)
    text, calls = reader.finish()
    if text or (held.tokens and (shape.heading.logprobs or shape.heading.return_token_ids)):
        await stream.event(shape.delta(text, held.tokens))
    said_calls, reason = as_openai(calls), _reason(generation, calls)
    if calls:
        await stream.event(shape.calls(said_calls))
    call.keep(shape.heading.id, "".join(shown) + text, said_calls, reason)
    await stream.event(shape.last(reason))
    call.note.num_cached = generation.num_cached
    if call.body.include_usage:
        await stream.event(shape.usage(_counts(generation)))
    await stream.done()


def _counts(generation: Generation) -> Json:
    return usage(len(generation.request.prompt_ids), generation.num_tokens, generation.num_cached)


def _reader(call: Call) -> CallReader:
    return CallReader(offered=isinstance(call.body, ChatBody) and bool(call.body.offered_tools))


def _reason(generation: Generation, calls: Sequence[ToolCall]) -> str:
    """Why the answer ended; a call that is whole is the client's turn."""
    assert generation.finish_reason is not None
    return "tool_calls" if calls and generation.finish_reason == "stop" else generation.finish_reason


async def _whole(call: Call, send: Send) -> None:
    """The whole answer at once; it runs as a stream inside, so that it can be cancelled between any two tokens."""
    generation, shape = await _begin(call)
    gathered: list[Piece] = []
    async with aclosing(generation.pieces()) as pieces:
        async for piece in pieces:
            gathered.append(piece)
            call.note.has_written(generation.num_tokens)
    reader = _reader(call)
    text = reader.push("".join(piece.text for piece in gathered))
    rest, calls = reader.finish()
    tokens = [token for piece in gathered for token in piece.tokens]
    call.note.num_cached = generation.num_cached
    said_calls, reason = as_openai(calls), _reason(generation, calls)
    answer = shape.whole(text + rest, tokens, reason, _counts(generation), said_calls)
    if call.body.return_token_ids:
        answer["prompt_token_ids"] = list(generation.request.prompt_ids)
        answer["choices"][0]["token_ids"] = [token.token_id for token in tokens]
    call.keep(shape.heading.id, text + rest, said_calls, reason)
    await send_json(send, answer)


def list_models(service: Service) -> ASGIApp:
    """`GET /v1/models`."""

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        await send_json(
            send, {"object": "list", "data": [_describe(model, service) for model in service.models.values()]}
        )

    return route


def show_model(service: Service) -> ASGIApp:
    """`GET /v1/models/{name}`; the name is looked up among the models and never touches a path."""

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        await send_json(send, _describe(service.model(scope["path_params"]["name"]), service))

    return route


def _describe(model: Live, service: Service) -> Json:
    served = model.served
    return {
        "id": served.name,
        "object": "model",
        "created": served.created,
        "owned_by": "setsail",
        "state": model.state,
        "ready": model.state == "ready",
        "context": served.context,
        "paths": list(served.paths),
        "keeps_answers": service.keeping.log is not None,
        "lineage": served.lineage,
        "description": served.description,
    }


def health() -> ASGIApp:
    """`GET /health`: this process is alive; it says nothing about the engine."""

    async def answer() -> tuple[int, Json]:
        return 200, {"status": "ok"}

    return _say(answer)


def ready(service: Service) -> ASGIApp:
    """`GET /ready`: the engine generates; 503 when it is down, restarting, stuck, or the server is leaving."""

    async def answer() -> tuple[int, Json]:
        alive = await service.is_ready()
        states: dict[str, Any] = {name: model.state for name, model in service.models.items()}
        return (200 if alive else 503), {"status": "ready" if alive else "not ready", "models": states}

    return _say(answer)


def _say(answer: Callable[[], Awaitable[tuple[int, Json]]]) -> ASGIApp:
    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        status, payload = await answer()
        await send_json(send, payload, status=status)

    return route
