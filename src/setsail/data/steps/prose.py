"""Where a text is prose and where it is code; changes that touch prose alone; what makes any change idempotent.

What does not live here: what is changed. The invariant: fenced blocks and code between backticks come through
`in_prose` byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

Change = Callable[[str], str]

_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})(.*)$", re.MULTILINE)
_INLINE = re.compile(r"(?<!`)(?:``[^`\n]+(?:`[^`\n]+)*``|`[^`\n]+`)(?!`)")
_ROUNDS = 8


def pieces_of(text: str) -> list[str]:
    """The text cut so that every second piece is code: a fenced block (an unclosed one runs to the end), or `this`.

    >>> pieces_of("use `x < 3` here")
    ['use ', '`x < 3`', ' here']
    """
    if "`" not in text and "~~~" not in text:
        return [text]
    pieces, place = [], 0
    for start, end in _code_spans(text):
        pieces += [text[place:start], text[start:end]]
        place = end
    return [*pieces, text[place:]]


def _code_spans(text: str) -> Iterator[tuple[int, int]]:
    place = 0
    for start, end in _fences(text):
        yield from (match.span() for match in _INLINE.finditer(text, place, start))
        yield start, end
        place = end
    yield from (match.span() for match in _INLINE.finditer(text, place))


def fenced_pieces_of(text: str) -> list[str]:
    """The text cut so that every second piece is a fenced block; code inside a line is not cut out."""
    pieces, place = [], 0
    for start, end in _fences(text):
        pieces += [text[place:start], text[start:end]]
        place = end
    return [*pieces, text[place:]]


def _fences(text: str) -> Iterator[tuple[int, int]]:
    """Where fenced blocks begin and end: a fence is closed by one of its own sign that is at least as long."""
    if "```" not in text and "~~~" not in text:
        return
    start, sign = 0, ""
    for match in _FENCE.finditer(text):
        marks, rest = match.groups()
        if not sign and not (marks[0] == "`" and "`" in rest):
            start, sign = match.start(), marks
        elif sign and marks.startswith(sign) and not rest.strip():
            yield start, match.end()
            sign = ""
    if sign:
        yield start, len(text)


def in_prose(text: str, change: Change) -> str:
    """The text with its prose changed and its code as it was."""
    pieces = pieces_of(text)
    if len(pieces) == 1:
        return change(text)
    return "".join(piece if index % 2 else change(piece) for index, piece in enumerate(pieces))


def settled(change: Change) -> Change:
    """The change, applied until nothing changes any more: idempotent by construction.

    A text that has not come to rest after eight rounds is left as it was.
    """

    def settle(text: str) -> str:
        before = text
        for _ in range(_ROUNDS):
            after = change(before)
            if after == before:
                return after
            before = after
        return text

    return settle
