"""A small synchronous client of the server: what the faithfulness check and applications talk through.

It knows the HTTP face only. The invariant: whatever goes wrong is a `ClientError` with the server's own words, and an
answer that breaks off is never taken for a whole one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from setsail.base.errors import EXIT_OUR_FAULT, EXIT_USER_INPUT, SetsailError
from setsail.engine.event_stream import BrokenAnswer, EventReader, words_of

_CONNECT_SECONDS = 10.0


class ClientError(SetsailError):
    """The server refused, failed or could not be reached; `status` is None when there was no answer at all."""

    label = "server error"

    def __init__(self, message: str, *, status: int | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.exit_code = EXIT_USER_INPUT if status is not None and status < 500 else EXIT_OUR_FAULT


@dataclass(frozen=True)
class TokenLogprob:
    """One token of an answer with the likeliest ones at its place, as the server tells them."""

    token: str
    logprob: float | None
    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class ChatResult:
    """A whole answer, by its `id`. Ids of tokens are there when they were asked for, the log-probabilities too."""

    text: str
    finish_reason: str
    num_prompt_tokens: int
    num_tokens: int
    logprobs: tuple[TokenLogprob, ...] = ()
    prompt_ids: tuple[int, ...] = ()
    token_ids: tuple[int, ...] = ()
    id: str = ""


Messages = Sequence[Mapping[str, str]]


class Client:
    """Talks to one server; use it as a context manager, or `close` it."""

    def __init__(self, url: str, *, api_key: str | None = None, timeout_seconds: float = 300.0) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        timeout = httpx.Timeout(timeout_seconds, connect=_CONNECT_SECONDS)
        # The environment's proxies are not asked: a server on this machine is reached directly.
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout, trust_env=False)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def models(self) -> list[dict[str, Any]]:
        """What `/v1/models` lists. Raises ClientError."""
        return self._ask("GET", "/v1/models")["data"]

    def chat(self, messages: Messages, *, model: str, **options: object) -> ChatResult:
        """The whole answer to a conversation; `options` are fields of the body. Raises ClientError."""
        body = {"model": model, "messages": list(messages), **options}
        return _read_result(self._ask("POST", "/v1/chat/completions", body))

    def complete(self, prompt: str, *, model: str, **options: object) -> ChatResult:
        """What follows a text; `options` are fields of the body. Raises ClientError."""
        return _read_completion(self._ask("POST", "/v1/completions", {"model": model, "prompt": prompt, **options}))

    def predict(self, body: Mapping[str, object]) -> list[dict[str, Any]]:
        """The lines that `/predict` says of a body. Raises ClientError."""
        return self._ask("POST", "/predict", body)["predictions"]

    def rate(self, answer_id: str, rating: str, *, correction: str | None = None, comment: str | None = None) -> None:
        """Says of an answer that this key was given whether it is good ("up" or "down"). Raises ClientError."""
        said = {"id": answer_id, "rating": rating, "correction": correction, "comment": comment}
        self._ask("POST", "/v1/feedback", said)

    def stream(self, messages: Messages, *, model: str, **options: object) -> Iterator[str]:
        """The answer's text as it comes; closing the iterator stops the server's work too. Raises ClientError."""
        body = {"model": model, "messages": list(messages), "stream": True, **options}
        try:
            with self._http.stream("POST", "/v1/chat/completions", json=body) as response:
                if response.status_code != 200:
                    response.read()
                    raise _refused(response)
                for event in _events(response):
                    text = event["choices"][0]["delta"].get("content") if event["choices"] else None
                    if text:
                        yield text
        except httpx.HTTPError as error:
            raise ClientError(f"no connection to {self._http.base_url}: {error or type(error).__name__}") from error

    def wait_until_ready(self, timeout_seconds: float = 60.0) -> None:
        """Returns when the server says that it can answer. Raises ClientError when it does not in time."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            try:
                self._ask("GET", "/ready")
                return
            except ClientError as error:
                if error.status not in (None, 503) or time.monotonic() > deadline:
                    raise
            time.sleep(0.1)

    def _ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        try:
            response = self._http.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise ClientError(f"no connection to {self._http.base_url}: {error or type(error).__name__}") from error
        if response.status_code != 200:
            raise _refused(response)
        return response.json()


def _events(response: httpx.Response) -> Iterator[dict[str, Any]]:
    """The events of a stream. Raises ClientError for an error event, no event, and an end without `[DONE]`."""
    reader = EventReader()
    try:
        for chunk in response.iter_bytes():
            for event in reader.feed(chunk):
                if "error" in event:
                    code = event["error"].get("code") if isinstance(event["error"], dict) else None
                    raise ClientError(words_of(event), status=200, code=code)
                yield event
            if reader.done:
                return
    except BrokenAnswer as broken:
        raise ClientError(f"the server cannot be understood: {broken}") from None
    raise ClientError("the answer broke off")


def _refused(response: httpx.Response) -> ClientError:
    try:
        error = response.json()["error"]
        return ClientError(error["message"], status=response.status_code, code=error["code"])
    except (ValueError, KeyError, TypeError):
        return ClientError(f"status {response.status_code}", status=response.status_code)


def _read_result(answer: dict[str, Any]) -> ChatResult:
    choice = answer["choices"][0]
    entries = (choice.get("logprobs") or {}).get("content") or []
    return ChatResult(
        text=choice["message"]["content"] or "",  # an answer of calls alone holds none
        finish_reason=choice["finish_reason"],
        num_prompt_tokens=answer["usage"]["prompt_tokens"],
        num_tokens=answer["usage"]["completion_tokens"],
        logprobs=tuple(_read_logprob(entry) for entry in entries),
        prompt_ids=tuple(answer.get("prompt_token_ids") or ()),
        token_ids=tuple(choice.get("token_ids") or ()),
        id=answer.get("id") or "",
    )


def _read_completion(answer: dict[str, Any]) -> ChatResult:
    choice, known = answer["choices"][0], answer["choices"][0].get("logprobs") or {}
    pairs = zip(known.get("tokens") or (), known.get("token_logprobs") or (), strict=True)
    return ChatResult(
        text=choice["text"],
        finish_reason=choice["finish_reason"],
        num_prompt_tokens=answer["usage"]["prompt_tokens"],
        num_tokens=answer["usage"]["completion_tokens"],
        logprobs=tuple(TokenLogprob(token, logprob, ()) for token, logprob in pairs),
        prompt_ids=tuple(answer.get("prompt_token_ids") or ()),
        token_ids=tuple(choice.get("token_ids") or ()),
        id=answer.get("id") or "",
    )


def _read_logprob(entry: dict[str, Any]) -> TokenLogprob:
    top = tuple((item["token"], item["logprob"]) for item in entry["top_logprobs"])
    return TokenLogprob(entry["token"], entry["logprob"], top)
