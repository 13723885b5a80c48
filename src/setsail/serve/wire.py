"""Bytes on the socket: reading a capped body, answering in JSON, streaming events, watching the client.

What is not here: what the bytes mean. The invariants: a body is never read past its cap, and work for a client that
has left is cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Coroutine
from typing import Any

from starlette.types import Receive, Scope, Send

from setsail.serve.errors import ApiError

MAX_BODY_BYTES = 2 * 2**20
BODY_SECONDS = 30.0
_JSON = "application/json"
_LINGER_SECONDS = 1.0
_GOODBYE_SECONDS = 1.0


class ClientLeft(Exception):
    """The client closed the connection; there is nobody to tell."""


def header(scope: Scope, name: bytes) -> bytes | None:
    """The first header called `name` (lower case)."""
    return next((value for key, value in scope["headers"] if key == name), None)


async def read_body(scope: Scope, receive: Receive) -> bytes:
    """The whole body. Raises `ApiError` 413 at the cap, 415 when it is not JSON, 408 when it does not come."""
    # Insisting on this type also keeps other web sites out: a browser asks us first before it sends JSON across
    # origins, and we never say yes.
    kind = (header(scope, b"content-type") or b"").split(b";")[0].strip().lower()
    if kind != b"application/json":
        hint = "send the header Content-Type: application/json"
        raise ApiError(415, "the body must be JSON", code="unsupported_media_type", hint=hint)
    length = header(scope, b"content-length")
    if length is not None and length.isdigit() and int(length[:20]) > MAX_BODY_BYTES:
        raise _too_large()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _read_capped(receive)
    except TimeoutError:
        message = f"the body did not arrive within {BODY_SECONDS:g} s"
        raise ApiError(408, message, code="body_timeout") from None


async def _read_capped(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise _too_large()
        if not message.get("more_body"):
            return bytes(body)


def _too_large() -> ApiError:
    return ApiError(413, f"the body is larger than {MAX_BODY_BYTES} bytes", code="body_too_large")


def encode(payload: object) -> bytes:
    """A whole answer in JSON."""
    return json.dumps(payload, ensure_ascii=False).encode()


async def send_json(send: Send, payload: object, *, status: int = 200) -> None:
    """A whole answer in JSON."""
    await send_body(send, encode(payload), status=status)


async def send_body(send: Send, body: bytes, *, status: int = 200, kind: str = _JSON) -> None:
    """A whole answer that has been encoded already."""
    await _send_whole(send, status, body, [], kind=kind)


async def send_error(send: Send, error: ApiError, receive: Receive | None = None) -> None:
    """A refusal. With `receive` a body that is still coming is dropped for a moment, so that its sender reads this."""
    extra = [(b"retry-after", str(error.retry_after_seconds).encode())] if error.retry_after_seconds else []
    if error.status == 401:
        extra.append((b"www-authenticate", b"Bearer"))
    if error.status in (401, 408, 413, 415):
        extra.append((b"connection", b"close"))
    await _send_whole(send, error.status, error.json(), extra, linger=receive if error.status == 413 else None)


async def _send_whole(
    send: Send,
    status: int,
    body: bytes,
    extra: list[tuple[bytes, bytes]],
    linger: Receive | None = None,
    kind: str = _JSON,
) -> None:
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode()), *extra]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": linger is not None})
    if linger is not None:
        # Closing while bytes are still arriving resets the connection, and the sender may lose our answer with it.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                while (await linger()).get("more_body"):
                    pass
        await send({"type": "http.response.body", "body": b""})


class EventStream:
    """Server-sent events; the headers leave with the first event, so that a failure before it keeps its status."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False

    async def event(self, payload: object) -> None:
        """One JSON event, and the headers before the first."""
        await self._write(json.dumps(payload, ensure_ascii=False, separators=(",", ":")))

    async def done(self) -> None:
        """The end that OpenAI's clients wait for."""
        await self._write("[DONE]")
        await self._send({"type": "http.response.body", "body": b""})

    async def fail(self, error: ApiError) -> None:
        """An error in the middle: an error event and the end, without `[DONE]`, since the answer is not whole."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await self.event(error.body())
                await self._send({"type": "http.response.body", "body": b""})

    async def _write(self, data: str) -> None:
        if not self.started:
            self.started = True
            headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")]
            # Keeps nginx from holding tokens back.
            headers.append((b"x-accel-buffering", b"no"))
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send({"type": "http.response.body", "body": f"data: {data}\n\n".encode(), "more_body": True})


async def supervise(
    work: Coroutine[Any, Any, None], receive: Receive, *, seconds: float, time_is_up: asyncio.Event
) -> None:
    """Runs `work` to its end; cancels it when the client leaves, the time is over or the server goes.

    Raises: ClientLeft; ApiError 504 past `seconds`, 503 when `time_is_up`; whatever `work` raises.
    """
    task = asyncio.create_task(work)
    gone = asyncio.create_task(_until_gone(receive))
    leaving = asyncio.create_task(time_is_up.wait())
    try:
        await asyncio.wait({task, gone, leaving}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return await task
        if gone.done():
            raise ClientLeft
        if leaving.done():
            raise ApiError(503, "the server is shutting down", code="shutting_down", retry_after_seconds=5)
        raise ApiError(504, f"the answer took longer than {seconds:g} s", code="deadline_exceeded")
    finally:
        for each in (task, gone, leaving):
            each.cancel()
        await asyncio.gather(task, gone, leaving, return_exceptions=True)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
