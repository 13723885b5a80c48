"""Passages: plain documents for models that read a text whole, with around it what the tokenizer itself puts there.

The text's own tokens are what may be hidden and learned; the marks around it never are. A document longer than the
context is dropped; or, with `split`, becomes parts of equal right, each with the marks around it; or, with `cut`, loses
what is behind the context.
"""

from __future__ import annotations

import numpy as np

from setsail.base.errors import DataError
from setsail.tasks.task import Dropped, Overlong, Row
from setsail.tokens.pack import Example
from setsail.tokens.render import text_ids
from setsail.tokens.tokenizer import Tokenizer


def example(row: Row, tokenizer: Tokenizer, context: int, overlong: Overlong) -> tuple[Example, ...] | Dropped:
    """The examples of one document, or why there is none."""
    try:
        ids = text_ids(tokenizer, row.text)
    except DataError as error:
        return Dropped("unusable", error.message)
    room = context - len(tokenizer.text_start_ids) - len(tokenizer.text_end_ids)
    if len(ids) <= room:
        return (_between_marks(ids, tokenizer, row.id, ""),)
    if overlong == "split":
        starts = range(0, len(ids), room)
        return tuple(_between_marks(ids[start : start + room], tokenizer, row.id, "split") for start in starts)
    if overlong == "cut":
        return (_between_marks(ids[:room], tokenizer, row.id, "cut"),)
    return Dropped("overlong", f"{len(ids):,} tokens, the context has room for {room:,}")


def _between_marks(ids: list[int], tokenizer: Tokenizer, row_id: str, change: str) -> Example:
    before, after = tokenizer.text_start_ids, tokenizer.text_end_ids
    mask = [False] * len(before) + [True] * len(ids) + [False] * len(after)
    return Example(np.array([*before, *ids, *after], dtype=np.int32), np.array(mask, dtype=np.bool_), row_id, change)
