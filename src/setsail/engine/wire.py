"""The lines that travel between an engine's process and its parent: one JSON object a line, both ways.

Parent to child: {"op": "submit" | "cancel" | "tokenize" | "apply_template", "id": n, …}; a closed pipe ends it.
Child to parent: {"ready": {…}} or {"failed": {…}} once, then {"id": n, "token": …}, {"id": n, "finished": …},
{"id": n, "reply": …} or {"id": n, "refused": …}.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from setsail.engine.contract import Event, Finished, GenerationRequest, Token


def encode(message: dict[str, Any]) -> bytes:
    """One line; ASCII only, so that no separator inside a text can break it."""
    return json.dumps(message, separators=(",", ":"), ensure_ascii=True).encode("ascii") + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """The message of one line."""
    message = json.loads(line)
    assert isinstance(message, dict), "a line on the wire is an object"
    return message


def submit_message(request_id: int, request: GenerationRequest) -> dict[str, Any]:
    """What asks the child to generate."""
    return {"op": "submit", "id": request_id, "request": asdict(request)}


def read_request(message: dict[str, Any]) -> GenerationRequest:
    """The request of a submit message."""
    fields = dict(message["request"])
    return GenerationRequest(
        prompt_ids=tuple(fields.pop("prompt_ids")), stop_ids=tuple(fields.pop("stop_ids")), **fields
    )


def event_message(event: Event) -> dict[str, Any]:
    """What tells the parent of a token or an end."""
    request_id, what = event
    if isinstance(what, Finished):
        ended = {"id": request_id, "finished": what.reason, "message": what.message}
        return ended if what.num_cached is None else {**ended, "cached": what.num_cached}
    message: dict[str, Any] = {"id": request_id, "token": what.token_id}
    if what.logprob is not None:
        message["logprob"] = what.logprob
    if what.top_logprobs:
        message["top"] = what.top_logprobs
    return message


def read_event(message: dict[str, Any]) -> Token | Finished:
    """The token or end of an event message."""
    if "finished" in message:
        return Finished(message["finished"], message["message"], message.get("cached"))
    top = tuple((int(token_id), float(logprob)) for token_id, logprob in message.get("top", ()))
    return Token(message["token"], message.get("logprob"), top)
