"""Preference: conversations with two answers, of which the chosen one is to be preferred to the rejected one.

A pair is one example: the conversation with the chosen answer, and behind it the same conversation with the rejected
one. Only those two answers, stop tokens included, are marked; earlier answers are the same in both and say nothing. So
the second half begins where the first stretch of marked tokens ends. A pair is whole or left out: an answer that is cut
is another one. What does not live here: the loss (`train/preference.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from setsail.base.errors import DataError
from setsail.tasks.task import Dropped, Overlong, Row
from setsail.tokens import pack
from setsail.tokens.pack import Example
from setsail.tokens.render import as_taken, render
from setsail.tokens.tokenizer import Tokenizer


@dataclass(frozen=True, eq=False)
class PreferenceBatch:
    """P pairs in one row of T tokens: for each the document with the chosen answer, then that with the rejected one.

    `reference_P` is by how many nats the base prefers the chosen answers, 0 where it was not asked.

    Shapes: input_ids, positions, targets [T]; document_starts [2P+1]; reference_P [P].
    """

    input_ids: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    document_starts: npt.NDArray[np.int32]
    targets: npt.NDArray[np.int64]
    reference_P: npt.NDArray[np.float64]
    row_ids: tuple[str, ...] = ()

    @property
    def num_tokens(self) -> int:
        """T, all of them real: there is no padding."""
        return len(self.input_ids)

    @property
    def num_supervised(self) -> int:
        """P: each pair gives one loss."""
        return len(self.reference_P)


def example(row: Row, tokenizer: Tokenizer, context: int, overlong: Overlong) -> tuple[Example, ...] | Dropped:
    """The one example of a pair, or why there is none; neither answer's conversation is longer than the context.

    Raises: ModelError where the template is at fault.
    """
    *asked, chosen, rejected = (dict(message) for message in row.messages)
    assert rejected["role"] == "rejected", f"row {row.id} is no pair of answers"
    if chosen["content"].strip() == rejected["content"].strip():  # cleaning and masking may make them so
        return Dropped("same_answers", "the chosen and the rejected answer are the same")
    try:
        halves = [_half([*asked, {**chosen, "content": answer["content"]}], tokenizer) for answer in (chosen, rejected)]
    except DataError as error:
        return Dropped("unusable", error.message)
    longest = max(len(ids) for ids, _ in halves)
    if longest > context:
        return Dropped("overlong", f"{longest:,} tokens, the context has {context:,}")
    ids = np.concatenate([ids for ids, _ in halves])
    return (Example(ids, np.concatenate([mask for _, mask in halves]), row.id),)


def halves_of(pair: Example) -> tuple[Example, Example]:
    """The conversation with the chosen answer, and that with the rejected one."""
    first = int(pair.loss_mask.argmax())
    end = first + int((~pair.loss_mask[first:]).argmax())
    chosen, rejected = (replace(pair, ids=pair.ids[part], loss_mask=pair.loss_mask[part]) for part in _around(end))
    return chosen, rejected


def with_reference(pair: Example, margin_nats: float) -> Example:
    """The pair with by how many nats the base prefers its chosen answer, to the last bit."""
    return replace(pair, label=float(margin_nats).hex())


def make_batch(pairs: Sequence[Example]) -> PreferenceBatch:
    """The pairs side by side, each pair's halves next to each other."""
    row = pack.make_batch([half for pair in pairs for half in halves_of(pair)])
    return PreferenceBatch(
        input_ids=row.input_ids,
        positions=row.positions,
        document_starts=row.document_starts,
        targets=row.targets,
        reference_P=np.array([float.fromhex(pair.label) if pair.label else 0.0 for pair in pairs]),
        row_ids=tuple(pair.row_id for pair in pairs),
    )


def _half(
    messages: Sequence[dict[str, str]], tokenizer: Tokenizer
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """A conversation through the stop token of its last answer, and which tokens are that answer."""
    taken = as_taken(tokenizer, messages)
    rendered = render(tokenizer, taken)
    answer = rendered.turns[-1]
    if answer.message != len(taken) - 1:
        raise DataError("the chat template rewrites the last answer")
    ids = np.array(rendered.ids[: answer.end], dtype=np.int32)
    return ids, np.arange(answer.end) >= answer.start


def _around(place: int) -> tuple[slice, slice]:
    return slice(None, place), slice(place, None)
