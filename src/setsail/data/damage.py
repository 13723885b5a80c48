"""Texts damaged by rule, for a model that learns to mend them: without their case, without their punctuation.

What was taken out is told from what is left by whoever knows the language, so that a text makes its own pair. The
invariant: the damage depends on the text alone, and a text without anything to damage stays as it is.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence


def damaged(text: str, ways: Sequence[str]) -> str:
    """The text after each of the ways, in their order.

    >>> damaged("Well, said the King.", ["case", "punctuation"]), damaged("比喻小人得志，不可一世。", ["punctuation"])
    ('well said the king', '比喻小人得志不可一世')
    """
    for way in ways:
        text = _WAYS[way](text)
    return text


def _without_punctuation(text: str) -> str:
    """Without what Unicode calls punctuation, but for the apostrophe or hyphen inside a word."""
    kept = []
    for place, character in enumerate(text):
        inside = character in "'’-" and text[place - 1 : place].isalnum() and text[place + 1 : place + 2].isalnum()
        if inside or not unicodedata.category(character).startswith("P"):
            kept.append(character)
    return " ".join("".join(kept).split())


_WAYS: dict[str, Callable[[str], str]] = {"case": str.lower, "punctuation": _without_punctuation}
