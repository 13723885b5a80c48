"""Every line ends in a line feed: not in CR LF, CR, NEL or Unicode's own separators."""

from __future__ import annotations

import re

from setsail.base.recipe_part import Part
from setsail.data.steps.step import Step

_LINE_ENDS = re.compile("\r\n?|[\u2028\u2029\x85]")


class Options(Part):
    """Nothing to set."""


def step(options: Options) -> Step:
    """The step `line_ends`."""
    return Step("line_ends", change=with_line_feeds)


def with_line_feeds(text: str) -> str:
    """The text with line feeds alone.

    >>> with_line_feeds("a\\r\\nb\\rc")
    'a\\nb\\nc'
    """
    if text.isascii():
        return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
    return _LINE_ENDS.sub("\n", text) if any(end in text for end in "\r\u2028\u2029\x85") else text
