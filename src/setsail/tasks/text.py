"""Text: plain documents, of which every token is learned and the end as well.

A document longer than the context is dropped; or, with `split`, becomes windows of tokens, of which only the last has
the end; or, with `cut`, loses what is behind the context, the end too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from setsail.base.errors import DataError
from setsail.tasks.task import Dropped, Overlong, Row, Task
from setsail.tokens.pack import Example
from setsail.tokens.render import render_text
from setsail.tokens.tokenizer import Tokenizer


def example(row: Row, tokenizer: Tokenizer, context: int, overlong: Overlong) -> tuple[Example, ...] | Dropped:
    """The examples of one document, or why there is none. Raises: ModelError where the tokenizer cannot end a text."""
    try:
        rendered = render_text(tokenizer, row.text)
    except DataError as error:
        return Dropped("unusable", error.message)
    ids, mask = np.array(rendered.ids, dtype=np.int32), np.array(rendered.loss_mask, dtype=np.bool_)
    if len(ids) <= context:
        return (Example(ids, mask, row.id),)
    if overlong == "split":
        return tuple(_windows(ids, mask, row.id, context))
    if overlong == "cut":
        return (Example(ids[:context], mask[:context], row.id, "cut"),)
    return Dropped("overlong", f"{len(ids):,} tokens, the context has {context:,}")


def _windows(ids: npt.NDArray[np.int32], mask: npt.NDArray[np.bool_], row_id: str, context: int) -> Iterator[Example]:
    """Windows that overlap by one token, which the first of the two predicts: so each token is learned exactly once."""
    for start in range(0, len(ids) - 1, context - 1):
        part = mask[start : start + context].copy()
        part[0] = part[0] and start == 0
        yield Example(ids[start : start + context], part, row_id, "split")


def prompt(row: Row, tokenizer: Tokenizer) -> list[int]:
    """The first part of the document, to be continued."""
    return render_text(tokenizer, row.text[: _middle(row.text)], generation_prompt=True).ids


def reference(row: Row) -> str:
    """The second part of the document."""
    return row.text[_middle(row.text) :]


def _middle(text: str) -> int:
    """Where a document is parted: before the last space or line end of its first half, else (Chinese) in the middle."""
    half = (len(text) + 1) // 2
    spaces = [found.start() for found in re.finditer(r"(?<=\S)\s", text[: half + 1])]
    return spaces[-1] if spaces else half


TASK = Task("text", example, prompt, reference, ("bits_per_byte", "chrf", "rouge_l", "stop_rate"))
