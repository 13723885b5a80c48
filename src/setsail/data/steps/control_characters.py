"""Characters that nobody sees and a model learns all the same: controls, byte-order marks, zero width, hidden text.

What stays: tab and line feed; the joiners of Persian, Indic scripts and emoji (U+200C, U+200D); the direction marks of
Arabic and Hebrew, but not the overrides, which show another order than what is stored; the tag characters of flags, but
not where they spell out a message behind a text.
"""

from __future__ import annotations

import re

from setsail.base.recipe_part import Part
from setsail.data.steps.step import Step

_FLAG = "\U0001f3f4"
_TAGS = "\U000e0000-\U000e007f"
_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u200b\u202d\u202e\u2060\ufeff\ufffe\uffff]"
    f"|(?<![{_FLAG}{_TAGS}])[{_TAGS}]+"
)


class Options(Part):
    """Nothing to set."""


def step(options: Options) -> Step:
    """The step `control_characters`."""
    return Step("control_characters", change=without_control_characters)


def without_control_characters(text: str) -> str:
    """The text without characters that are not seen.

    >>> without_control_characters("a\\x00b\\u200bc")
    'abc'
    """
    if text.replace("\n", "").isprintable():
        return text
    return _UNSEEN.sub("", text)
