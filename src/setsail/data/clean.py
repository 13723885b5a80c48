"""Cleaning text without changing what it says: Unicode form, control characters, white space outside code.

Pure functions, each idempotent; a change is named so that it can be counted. What does not live here: dropping rows.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

_LINE_ENDS = re.compile(r"\r\n?|\u2028|\u2029|\x85")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\u200b\u2060\ufeff\ufffe\uffff]")
_ODD_SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f]")
_TRAILING = re.compile(r"[ \t]+(?=\n|$)")
_INNER_RUNS = re.compile(r"(?<=\S)[ \t]{2,}(?=\S)")
_BLANK_RUNS = re.compile(r"\n{3,}")
_FENCE = re.compile(r"^(```|~~~)", re.MULTILINE)
# Lines whose inner spacing carries meaning: tables, doctests, and anything indented.
_ALIGNED = re.compile(r"^(\s|>>>|\.\.\. |\||\+[-=])")


@dataclass(frozen=True)
class Cleaned:
    """A text and the names of the changes that were needed."""

    text: str
    changes: tuple[str, ...]


def clean_text(text: str) -> Cleaned:
    """The text in Unicode NFC, with plain line ends, no control characters and calm white space.

    >>> clean_text("caf\\u0065\\u0301  au lait\\r\\n")
    Cleaned(text='café au lait', changes=('line_ends', 'unicode_form', 'white_space'))
    >>> clean_text("a\\x00b").changes
    ('control_characters',)
    """
    if _is_plain(text):
        return Cleaned(text, ())
    changes: list[str] = []
    for name, step in _STEPS:
        after = step(text)
        if after != text:
            changes.append(name)
            text = after
    return Cleaned(text, tuple(changes))


def _is_plain(text: str) -> bool:
    """A quick way out for most texts: printable ASCII whose white space is calm already."""
    return (
        text.isascii()
        and text.replace("\n", "").isprintable()
        and not any(run in text for run in ("  ", " \n", "\n\n\n"))
        and text == text.strip()
    )


def _line_ends(text: str) -> str:
    return _LINE_ENDS.sub("\n", text)


def _control_characters(text: str) -> str:
    return _CONTROL.sub("", text)


def _unicode_form(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _white_space(text: str) -> str:
    pieces = []
    for index, piece in enumerate(_around_code(text)):
        pieces.append(piece if index % 2 else _calm(piece))
    return "".join(pieces).strip("\n").rstrip()


def _around_code(text: str) -> list[str]:
    """The text cut so that every second piece is a fenced code block; an unclosed fence runs to the end."""
    pieces, place, inside = [], 0, ""
    for match in _FENCE.finditer(text):
        if not inside:
            pieces.append(text[place : match.start()])
            place, inside = match.start(), match.group()
        elif match.group() == inside:
            pieces.append(text[place : match.end()])
            place, inside = match.end(), ""
    pieces.append(text[place:])
    return pieces


def _calm(text: str) -> str:
    text = _TRAILING.sub("", _ODD_SPACES.sub(" ", text))
    text = _BLANK_RUNS.sub("\n\n", text)
    return "\n".join(line if _ALIGNED.match(line) else _INNER_RUNS.sub(" ", line) for line in text.split("\n"))


_STEPS = (
    ("line_ends", _line_ends),
    ("control_characters", _control_characters),
    ("unicode_form", _unicode_form),
    ("white_space", _white_space),
)
