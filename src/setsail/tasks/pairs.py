"""Pairs: a source is read and a target written, by an encoder-decoder; a chat model answers the source instead.

An example is the source as the tokenizer writes a text, and behind it the target with its end; the target alone is
supervised, and both together fit the context. A pair that is longer is dropped; or, with `cut`, its source loses its
end, as long as some of it is left.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from setsail.base.errors import DataError, ModelError
from setsail.tasks import chat
from setsail.tasks.task import Dropped, Overlong, Row, Task
from setsail.tokens.pack import Example
from setsail.tokens.render import text_ids
from setsail.tokens.tokenizer import Tokenizer

Ids = npt.NDArray[np.int64]


def example(row: Row, tokenizer: Tokenizer, context: int, overlong: Overlong) -> tuple[Example, ...] | Dropped:
    """The one example of a pair, or why there is none.

    Raises: ModelError where the tokenizer cannot end a text.
    """
    try:
        source, target = source_ids(sides(row)[0], tokenizer), target_ids(sides(row)[1], tokenizer)
    except DataError as error:
        return Dropped("unusable", error.message)
    length = len(source) + len(target)
    if length <= context:
        return (_example(source, target, row.id, ""),)
    end = tokenizer.text_end_ids
    room = context - len(target) - len(end)
    if overlong == "cut" and room > len(tokenizer.text_start_ids):
        return (_example([*source[:room], *end], target, row.id, "cut"),)
    return Dropped("overlong", f"{length:,} tokens, the context has {context:,}")


def sides(row: Row) -> tuple[str, str]:
    """The source and the target of a row: what the user says, and the answer."""
    said = [message["content"] for message in row.messages if message["role"] != "system"]
    return said[0], said[-1]


def source_ids(text: str, tokenizer: Tokenizer) -> list[int]:
    """What the encoder reads: the text with what the tokenizer itself puts around one."""
    return [*tokenizer.text_start_ids, *text_ids(tokenizer, text), *tokenizer.text_end_ids]


def target_ids(text: str, tokenizer: Tokenizer) -> list[int]:
    """What the decoder writes: the same, and always the end. Raises: ModelError where there is none."""
    ids = source_ids(text, tokenizer)
    if tokenizer.eos_id is None:
        raise ModelError("the tokenizer has no eos token, so that the model could not learn to stop", place="base")
    return ids if ids[-1] == tokenizer.eos_id else [*ids, tokenizer.eos_id]


def parted(example: Example) -> tuple[Ids, Ids]:
    """The two sides of an example: what is read, and what is written."""
    ids = example.ids.astype(np.int64)
    return ids[~example.loss_mask], ids[example.loss_mask]


def _example(source: Sequence[int], target: Sequence[int], row_id: str, change: str) -> Example:
    mask = np.array([False] * len(source) + [True] * len(target), dtype=np.bool_)
    return Example(np.array([*source, *target], dtype=np.int32), mask, row_id, change)


_METRICS = ("bits_per_byte", "chrf", "length_ratio", "exact_text")
TRANSLATE = Task(
    "translate", chat.example, chat.prompt, chat.reference, ("bleu", *_METRICS, "placeholders_kept", "exact_stop")
)
SUMMARIZE = Task(
    "summarize", chat.example, chat.prompt, chat.reference, ("rouge_1", "rouge_2", "rouge_l", *_METRICS, "exact_stop")
)
REWRITE = Task("rewrite", chat.example, chat.prompt, chat.reference, ("bleu", "rouge_l", *_METRICS, "exact_stop"))
