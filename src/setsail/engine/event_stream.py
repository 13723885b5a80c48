"""What an OpenAI-compatible server sends, read with care: events while their bytes arrive, and refusals in its words.

No sockets here. The invariant: a server is a stranger, so that no line is held beyond a bound, and nothing but a JSON
object is ever handed on.
"""

from __future__ import annotations

import json
from typing import Any

MOST_LINE_BYTES = 1 << 20
_MOST_WORDS = 300  # characters of what a server says, in a message of ours
_DEEPEST = 4


class BrokenAnswer(Exception):
    """What a server sent is no answer."""


class EventReader:
    """Events by server-sent lines (`data: {…}`), or by bare JSON lines where `plain`; `done` after `[DONE]`."""

    def __init__(self, *, plain: bool = False) -> None:
        self.done = False
        self._plain = plain
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> list[dict[str, Any]]:
        """The events that are complete with these bytes. Raises BrokenAnswer."""
        head, newline, tail = chunk.rpartition(b"\n")
        lines: list[bytes] = []
        if newline:
            lines = (bytes(self._rest) + head).split(b"\n")
            self._rest.clear()
        self._rest += tail
        if len(self._rest) > MOST_LINE_BYTES:
            raise BrokenAnswer(f"it sent a line of more than {MOST_LINE_BYTES} bytes")
        return [event for line in lines if (event := self._event(line)) is not None]

    def _event(self, line: bytes) -> dict[str, Any] | None:
        line = line.strip()
        if not self._plain:
            if not line.startswith(b"data:"):
                return None  # empty lines, comments and names of events
            line = line.removeprefix(b"data:").strip()
        if not line or self.done:
            return None
        if line == b"[DONE]":
            self.done = True
            return None
        return read_object(line)


def read_object(raw: bytes) -> dict[str, Any]:
    """The JSON object in these bytes. Raises BrokenAnswer for anything else, however deep or damaged."""
    if len(raw) > MOST_LINE_BYTES:
        raise BrokenAnswer(f"it sent a line of more than {MOST_LINE_BYTES} bytes")
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        raise BrokenAnswer("it sent something that is not JSON") from None
    if not isinstance(value, dict):
        raise BrokenAnswer("it sent JSON that is not an object")
    return value


def words_of(value: object) -> str:
    """What an error of a server says, on one line and cut short; nothing where it says nothing.

    >>> words_of({"error": {"message": "no such\\nmodel", "code": 404}})
    'no such model'
    """
    for _ in range(_DEEPEST):
        if not isinstance(value, dict):
            break
        value = next((value[key] for key in ("error", "message", "detail") if value.get(key)), None)
    text = " ".join(value.split()) if isinstance(value, str) else ""
    text = "".join(character for character in text if character.isprintable())
    return text if len(text) <= _MOST_WORDS else text[:_MOST_WORDS] + "…"
