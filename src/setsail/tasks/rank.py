"""Rank: how well a text answers a query, read together as one sequence by a cross-encoder.

The sequence is the tokenizer's own for pairs, token types included; an example keeps the types in its loss mask, which
means nothing else here. A pair that is too long is dropped; or, with `cut`, loses tokens at the end of the longer of
the two texts, as other tools cut pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from setsail.tasks.task import Dropped, Overlong, Row, Task
from setsail.tokens.pack import Example
from setsail.tokens.tokenizer import Tokenizer

GRADE_NAME = "relevance"  # of the one logit, in the saved configuration


@dataclass(frozen=True, eq=False)
class GradedBatch:
    """Pairs of query and text in one row of T tokens, each with its grade from 0 to 1.

    Shapes: input_ids, token_types [T]; document_starts [D+1], the first 0 and the last T; grades [D].
    """

    input_ids: npt.NDArray[np.int64]
    token_types: npt.NDArray[np.int64]
    document_starts: npt.NDArray[np.int32]
    grades: npt.NDArray[np.float32]
    row_ids: tuple[str, ...] = ()

    @property
    def num_tokens(self) -> int:
        """T, all of them real: there is no padding."""
        return len(self.input_ids)

    @property
    def num_supervised(self) -> int:
        """D: a grade each."""
        return len(self.grades)


def example(row: Row, tokenizer: Tokenizer, context: int, overlong: Overlong) -> tuple[Example, ...] | Dropped:
    """The one example of a query and its text, or why there is none; a positive has the grade 1."""
    query, text = (message["content"] for message in row.messages[:2])
    ids, types = tokenizer.encode_pair(query, text)
    is_cut = len(ids) > context
    if is_cut and overlong != "cut":
        return Dropped("overlong", f"{len(ids):,} tokens, the context has {context:,}")
    if is_cut:
        ids, types = tokenizer.encode_pair(query, text, most=context)
    mask = np.array(types, dtype=np.bool_)
    return (Example(np.array(ids, dtype=np.int32), mask, row.id, "cut" if is_cut else "", row.label or "1"),)


def to_show(example: Example) -> Example:
    """The example with its grade alone as what is learned, for a person."""
    return replace(example, loss_mask=np.zeros_like(example.loss_mask))


def prompt(row: Row, tokenizer: Tokenizer) -> list[int]:
    """The pair as it is read."""
    return tokenizer.encode_pair(*(message["content"] for message in row.messages[:2]))[0]


def reference(row: Row) -> str:
    """The grade."""
    return row.label


def grade_scale(labels: Sequence[str]) -> Mapping[str, float]:
    """Each grade on a line from 0, the least of them, to 1.

    >>> grade_scale(["0", "2", "1", "2"])
    {'0': 0.0, '1': 0.5, '2': 1.0}
    """
    values = sorted({label: float(label) for label in labels}.items(), key=lambda item: item[1])
    least, most = values[0][1], values[-1][1]
    return {label: (value - least) / ((most - least) or 1.0) for label, value in values}


def make_batch(examples: Sequence[Example], scale: Mapping[str, float]) -> GradedBatch:
    """The examples side by side; `scale` gives each grade its place from 0 to 1."""
    assert examples, "a batch needs an example"
    lengths = [len(each.ids) for each in examples]
    return GradedBatch(
        input_ids=np.concatenate([each.ids for each in examples]).astype(np.int64),
        token_types=np.concatenate([each.loss_mask for each in examples]).astype(np.int64),
        document_starts=np.cumsum([0, *lengths]).astype(np.int32),
        grades=np.array([scale[each.label] for each in examples], dtype=np.float32),
        row_ids=tuple(each.row_id for each in examples),
    )


TASK = Task("rank", example, prompt, reference, ("ndcg_at_10", "mrr_at_10", "recall_at_1"))
