"""A row through the steps of cleaning: what is left of it, and which steps had something to do.

What does not live here: the steps (`steps/`), and counting over all rows (`shard.py`). The invariant: a row comes out
as a row or as a drop, with its id; a row that no step changed comes out as the same object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from setsail.data.row import Drop, Row, contents, with_contents
from setsail.data.steps.step import Step


@dataclass(frozen=True)
class Cleaned:
    """What a row became, the names of the steps that changed or marked it, in their order, and which one dropped it."""

    row: Row | Drop
    changes: tuple[str, ...] = ()
    dropped_by: str = ""


def clean_row(row: Row, steps: Sequence[Step]) -> Cleaned:
    """The row after all steps, or the drop that one of them made of it.

    >>> from setsail.data.steps.registry import steps_of
    >>> clean_row(Row("1", (), "caf\\u0065\\u0301  au lait\\r\\n", "", "a.csv:2"), steps_of("standard")).changes
    ('line_ends', 'unicode_form', 'white_space')
    """
    texts = contents(row)
    changes: list[str] = []
    marks: list[str] = []
    dropped, dropped_by = _empty(texts), ""
    for step in steps:
        if dropped:
            break
        dropped_by = step.name
        if step.change:
            after = tuple(map(step.change, texts))
            if after != texts:
                changes.append(step.name)
                texts, dropped = after, _empty(after)
        elif step.judge:
            verdict = step.judge("\n\n".join(texts))
            dropped = verdict and (verdict.reason, f"{step.name}: {verdict.detail}".removesuffix(": "))
        elif step.mark and (mark := step.mark("\n\n".join(texts))):
            changes.append(step.name)
            marks.append(mark)
    if dropped:
        return Cleaned(Drop(row.id, row.origin, *dropped), tuple(changes), dropped_by)
    return Cleaned(_with(row, texts, marks), tuple(changes))


def _empty(texts: Sequence[str]) -> tuple[str, str] | None:
    """The reason to drop a row of which a piece is blank."""
    return None if all(text.strip() for text in texts) else ("empty_after_cleaning", "")


def _with(row: Row, texts: Sequence[str], marks: Sequence[str]) -> Row:
    row = with_contents(row, texts) if texts != contents(row) else row
    new = [mark for mark in marks if mark not in row.marks]
    return replace(row, marks=(*row.marks, *new)) if new else row
