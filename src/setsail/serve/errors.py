"""Refusals that travel over HTTP: one exception, always in OpenAI's error shape.

What is not here: deciding to refuse (schema, gate, prompt, guard do that) and writing to the socket (wire).
"""

from __future__ import annotations

import json
import traceback
from pathlib import Path

from setsail.base.errors import EXIT_USER_INPUT, SetsailError

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_SHOWN_CHARACTERS = 80


class ApiError(SetsailError):
    """A refusal with an HTTP status; `code` is for programs, `message` and `hint` are for people."""

    exit_code = EXIT_USER_INPUT
    label = "request refused"

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str,
        param: str | None = None,
        hint: str | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(message, place=param, hint=hint)
        self.status = status
        self.code = code
        self.param = param
        self.retry_after_seconds = retry_after_seconds

    def body(self) -> dict[str, object]:
        """OpenAI's error shape; the hint stands at the end of the message, where every client shows it."""
        kind = _TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        message = f"{self.message}; {self.hint}" if self.hint else self.message
        return {"error": {"message": message, "type": kind, "param": self.param, "code": self.code}}

    def json(self) -> bytes:
        return json.dumps(self.body(), ensure_ascii=True).encode()


def fault_of(error: Exception) -> str:
    """What kind of error of ours happened and where; without its message, which may hold a prompt."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    places = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
    return f"{type(error).__name__} at {places}"


def shown(value: object) -> str:
    """A value as it may stand in a message: short, on one line, and without walking into lists and objects.

    >>> shown("a\\nb"), shown([1, 2]), shown(10**30)
    ('"a\\\\nb"', 'a list', '1000000000000000000000000000000')
    """
    if isinstance(value, str):
        short = value if len(value) <= _SHOWN_CHARACTERS else value[:_SHOWN_CHARACTERS] + "…"
        return json.dumps(short)
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, dict):
        return "an object"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    # A JSON integer may have thousands of digits; printing one that long is itself an error.
    if isinstance(value, int):
        return str(value) if abs(value) < 10**40 else "a very long number"
    return str(value) if isinstance(value, float) else f"a {type(value).__name__}"
