"""What a detector is: a shape that a regular expression finds, and a confirmation that says where the value stands.

What does not live here: the detectors, one file for each group of kinds; their names (`registry.py`). The invariant:
a detector looks at one text and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Span = tuple[int, int]

# The shapes that look at most texts in vain begin with a rare character or a class of them and only then look behind:
# `re` runs over what cannot begin a match about ten times as fast.
_DIGIT = re.compile(r"[0-9]")
# Seven characters of digits and what stands between them: what telephones, cards and identity numbers all have.
_LONG_NUMBER = re.compile(r"\d[\d .()/:-]{5,}[\dXx]", re.ASCII)


@dataclass(frozen=True)
class Glance:
    """A text and what one cheap look says of it, so that most texts are spared most searches."""

    text: str
    lowered: str
    has_digit: bool
    has_long_number: bool

    def shows(self, sign: re.Pattern[str]) -> bool:
        """Whether a cheap sign of a shape stands in a text that has digits."""
        return self.has_digit and sign.search(self.text) is not None

    def has(self, *words: str) -> bool:
        """Whether any of these lower-case words stands in the text."""
        return any(word in self.lowered for word in words)


def glance(text: str) -> Glance:
    """The cheap look at a text."""
    has_digit = _DIGIT.search(text) is not None
    return Glance(text, text.lower(), has_digit, has_digit and _LONG_NUMBER.search(text) is not None)


def whole(match: re.Match[str]) -> Span:
    """The value is the group `value` where the shape has one, else all of the match."""
    return match.span("value") if "value" in match.re.groupindex else match.span()


def value_of(match: re.Match[str]) -> str:
    """The text of what `whole` points at."""
    return match.string[slice(*whole(match))]


def before(match: re.Match[str], num_characters: int) -> str:
    """The text that stands just before the value, for a word that says what it is."""
    start = whole(match)[0]
    return match.string[max(0, start - num_characters) : start]


def after(match: re.Match[str], num_characters: int) -> str:
    """The text that stands just after the value."""
    end = whole(match)[1]
    return match.string[end : end + num_characters]


def where(holds: Callable[[re.Match[str]], bool]) -> Callable[[re.Match[str]], Span | None]:
    """A confirmation that takes the whole value where `holds` says yes."""
    return lambda match: whole(match) if holds(match) else None


@dataclass(frozen=True)
class Detector:
    """A kind, its shape, what confirms a match and narrows it to the value, and when to look at all.

    Among values that overlap, the detector that stands first in the registry wins.
    """

    kind: str
    shape: re.Pattern[str]
    confirm: Callable[[re.Match[str]], Span | None] = whole
    possible: Callable[[Glance], bool] = lambda glance: glance.has_long_number

    def find(self, text: str) -> Iterator[Span]:
        """Where values of this kind stand, in order.

        A match that is not confirmed hides nothing: the search goes on at its second character.
        """
        at = 0
        while match := self.shape.search(text, at):
            span = self.confirm(match)
            if span is not None:
                yield span
            at = max(match.start() + 1, span[1] if span else 0)
