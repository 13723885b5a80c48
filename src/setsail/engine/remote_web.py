"""The way to a remote server: one HTTP client, its key, its timeouts, and every failure in plain words.

What is asked and what an answer means stand in `remote_manner.py` and `remote_answer.py`. The invariants: the key is in
the header `Authorization` and nowhere else, whatever a server answers; and every wait has an end.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from setsail.base.environment import secret_of
from setsail.base.errors import UserError
from setsail.base.recipe_data import Server
from setsail.engine.event_stream import BrokenAnswer, EventReader, read_object, words_of

CONNECT_SECONDS = 10.0
SILENT_SECONDS = 100.0  # below the patience of the watch that kills a silent engine
MOST_BODY_BYTES = 1 << 20
MOST_STREAM_BYTES = 1 << 28
_DEEPEST = 16


class Refusal(Exception):
    """A status that is not 200, with what the server said about it."""

    def __init__(self, status: int, words: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(f"status {status}" + (f": {words}" if words else ""))
        self.status = status
        self.retry_after_seconds = retry_after_seconds


class Web:
    """Requests to one server; used from one event loop. A `key` stands for the one that the server's variable holds.

    Raises: UserError where that variable is empty.
    """

    def __init__(self, server: Server, *, key: str | None = None, silent_seconds: float = SILENT_SECONDS) -> None:
        self.url = server.url.rstrip("/").removesuffix("/v1")
        self.model = server.model
        self.silent_seconds = silent_seconds
        self._key = key or (secret_of(server.key_env) if server.key_env else "")
        if server.key_env and not self._key:
            hint = f"export {server.key_env}=…"
            raise UserError(f"the environment variable {server.key_env} is empty", place="key_env", hint=hint)
        # Compressed bytes are not taken: a small body could unfold into a large one.
        headers = {"Accept-Encoding": "identity"}
        headers |= {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._http = httpx.AsyncClient(
            base_url=self.url,
            headers=headers,
            timeout=httpx.Timeout(silent_seconds, connect=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
            verify=ssl.create_default_context() if self.url.startswith("https") else False,
            # The environment's proxies are not asked: a server on this machine is reached directly.
            trust_env=False,
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def look(self, path: str) -> dict[str, Any]:
        """The JSON object at an address. Raises: Refusal, BrokenAnswer, httpx.HTTPError."""
        async with self._http.stream("GET", path) as response:
            raw = await _body(response)
        self._refuse(response, raw)
        return read_object(raw)

    @asynccontextmanager
    async def events(self, path: str, body: dict[str, Any], *, plain: bool) -> AsyncIterator[AsyncGenerator[dict]]:
        """The events that answer a body; leaving the block closes the connection, which ends the work over there.

        Raises: Refusal, BrokenAnswer, httpx.HTTPError; the last two also while the events are read.
        """
        async with self._http.stream("POST", path, json=body) as response:
            if response.status_code != httpx.codes.OK:
                self._refuse(response, await _body(response))
            yield _events(response, plain=plain)

    def _refuse(self, response: httpx.Response, raw: bytes) -> None:
        if response.status_code == httpx.codes.OK:
            return
        try:
            words = words_of(read_object(raw))
        except BrokenAnswer:
            words = ""
        raise Refusal(response.status_code, self.clean(words), _retry_after(response))

    def clean(self, words: str) -> str:
        """What may be shown of a server's words: the key, should it repeat it, may not."""
        return words.replace(self._key, "…") if self._key else words

    def explained(self, error: Exception) -> str:
        """Why a request failed, in one sentence without the key."""
        match error:
            case Refusal(status=401 | 403):
                why = f"it refuses the key ({error})" if self._key else f"it wants a key, and none is named ({error})"
            case Refusal():
                why = f"it answered with {error}"
            case BrokenAnswer():
                why = str(error)
            case httpx.ConnectTimeout():
                why = f"no connection within {CONNECT_SECONDS:g} s"
            case httpx.ConnectError():
                why = f"no connection: {_root_of(error)}"
            case httpx.TimeoutException():
                why = f"it said nothing for {self.silent_seconds:g} s"
            case httpx.TransportError():
                why = "the connection broke off"
            case _:
                why = f"{type(error).__name__}: {error}"
        return self.clean(f"the server at {self.url}: {why}")


def _root_of(error: BaseException) -> str:
    """What the system said, below what the libraries made of it."""
    words, seen = str(error), 0
    below: BaseException | None = error
    while below is not None and seen < _DEEPEST:
        if isinstance(below, OSError) and below.errno:
            words = os.strerror(below.errno) if below.errno > 0 else below.strerror or words
        below, seen = below.__cause__ or below.__context__, seen + 1
    return words


async def _body(response: httpx.Response) -> bytes:
    raw = bytearray()
    async for chunk in response.aiter_raw():
        raw += chunk
        if len(raw) > MOST_BODY_BYTES:
            raise BrokenAnswer(f"its answer is larger than {MOST_BODY_BYTES} bytes")
    return bytes(raw)


async def _events(response: httpx.Response, *, plain: bool) -> AsyncGenerator[dict[str, Any]]:
    """Each event, until `[DONE]` or the end of the stream."""
    reader, num_bytes = EventReader(plain=plain), 0
    async for chunk in response.aiter_raw():
        num_bytes += len(chunk)
        if num_bytes > MOST_STREAM_BYTES:
            raise BrokenAnswer(f"its answer is larger than {MOST_STREAM_BYTES} bytes")
        for event in reader.feed(chunk):
            if event.get("error"):
                raise BrokenAnswer(f"it gave up: {words_of(event) or 'it did not say why'}")
            yield event
        if reader.done:
            return


def _retry_after(response: httpx.Response) -> float | None:
    said = response.headers.get("retry-after", "")
    return float(said) if said.isascii() and said.isdecimal() and len(said) < 6 else None
