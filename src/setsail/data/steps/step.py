"""What a step of cleaning is: one named, pure treatment of a row's text.

A step has one of three shapes, and its module holds nothing but what it needs: `change` rewrites each piece of text,
`judge` drops the whole row, `mark` says something about a row that stays. What does not live here: the steps, one file
each beside this one; their names and presets (`registry.py`); applying them to rows and counting (`data/clean.py`).
The invariants: a step depends on nothing but its options and the text, so that it gives the same answer in any process
and in any order of rows; a `change` is idempotent unless its module says why not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """Why a row is dropped: a reason that `summary.REASONS` explains, and the figure or word that decided."""

    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Step:
    """A treatment by name. Exactly one of the three functions is given.

    `change` is applied to each piece of a row (every turn of a conversation, or the text); `judge` and `mark` see all
    pieces joined by blank lines. `judge` answers None for a row that stays; `mark` answers "" for nothing to say.
    """

    name: str
    change: Callable[[str], str] | None = None
    judge: Callable[[str], Verdict | None] | None = None
    mark: Callable[[str], str] | None = None
