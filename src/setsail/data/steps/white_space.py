"""Calm white space: no trailing spaces, no runs of spaces inside a sentence, at most one blank line.

Where spacing carries meaning it stays: in fenced code, tables, doctests and indented lines. The ideographic space
(U+3000) is how Chinese paragraphs begin, and stays too.
"""

from __future__ import annotations

import re

from setsail.base.recipe_part import Part
from setsail.data.steps.prose import fenced_pieces_of, settled
from setsail.data.steps.step import Step

_ODD_SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f]")
_INNER_RUNS = re.compile(r"(?<=\S)[ \t]{2,}(?=\S)")
_BLANK_RUNS = re.compile(r"\n{3,}")
# Lines whose inner spacing carries meaning: tables, doctests, and anything indented.
_ALIGNED = re.compile(r"\s|>>>|\.\.\. |\||\+[-=]")


class Options(Part):
    """Nothing to set."""


def step(options: Options) -> Step:
    """The step `white_space`."""
    settle = settled(with_calm_white_space)
    return Step("white_space", change=lambda text: text if _is_calm(text) else settle(text))


def with_calm_white_space(text: str) -> str:
    """The text with calm white space around its code.

    >>> with_calm_white_space("a  b \\n\\n\\n\\n    x  =  1 ")
    'a b\\n\\n    x  =  1'
    """
    pieces = fenced_pieces_of(text)
    calm = [piece if index % 2 else _calm(piece) for index, piece in enumerate(pieces)]
    return "".join(calm).strip("\n").rstrip()


def _is_calm(text: str) -> bool:
    """Whether nothing is to be done, by searches that run at the speed of memory."""
    return (
        not any(run in text for run in ("  ", "\t", " \n", "\n\n\n"))
        and not (text.startswith("\n") or text[-1:].isspace())
        and (text.isascii() or not _ODD_SPACES.search(text))
    )


def _calm(text: str) -> str:
    text = text if text.isascii() else _ODD_SPACES.sub(" ", text)
    lines = [_calm_line(line) if "  " in line or "\t" in line else line.rstrip(" ") for line in text.split("\n")]
    text = "\n".join(lines)
    return _BLANK_RUNS.sub("\n\n", text) if "\n\n\n" in text else text


def _calm_line(line: str) -> str:
    line = line.rstrip(" \t")
    return line if _ALIGNED.match(line) else _INNER_RUNS.sub(" ", line)
