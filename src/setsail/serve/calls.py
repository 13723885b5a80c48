"""Calls of tools in an answer, found while it comes: text goes on at once, a call is held until it is whole.

The invariants: nothing of a call is ever shown as text, unless no call can be read of it, and then all of it is; what
was shown, joined with what was held, is the answer.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from typing import Any

from setsail.base.tool_calls import OPEN, Call, read_answer


class CallReader:
    """Reads one answer; with `offered` false it is text whatever it says."""

    def __init__(self, *, offered: bool) -> None:
        self._offered = offered
        self._held = ""

    def push(self, text: str) -> str:
        """What may be shown of the answer after this piece of it."""
        if not self._offered:
            return text
        self._held += text
        at = self._held.find(OPEN)
        if at < 0:
            at = len(self._held) - self._num_doubtful()
        # A line break before a call parts it from the text and belongs to neither.
        at = len(self._held[:at].rstrip())
        shown, self._held = self._held[:at], self._held[at:]
        return shown

    def finish(self) -> tuple[str, tuple[Call, ...]]:
        """The rest of the text, and the calls."""
        held, self._held = self._held, ""
        try:
            text, calls = read_answer(held)
        except (ValueError, RecursionError):
            return held, ()
        return ("", calls) if calls else (text, ())

    def _num_doubtful(self) -> int:
        """How many characters at the end may begin a call."""
        return next((n for n in range(min(len(OPEN) - 1, len(self._held)), 0, -1) if self._held.endswith(OPEN[:n])), 0)


def as_openai(calls: Sequence[Call]) -> list[dict[str, Any]]:
    """The calls as OpenAI sends them, each with an id of its own."""
    return [
        {
            "id": f"call_{uuid.uuid4().hex[:24]}",
            "type": "function",
            "function": {"name": call.name, "arguments": json.dumps(call.arguments, ensure_ascii=False)},
        }
        for call in calls
    ]
