"""Embed: texts as vectors, so that a query finds its text among all others.

An example holds a query, its positive and the negatives of its row, one behind the other, each as the encoder's own
tokenizer writes it; the loss mask is true on the first token of each text and nowhere else, so that the texts are found
again. A text longer than the context is dropped with its row; or, with `cut`, loses what is behind the context, but not
its last special token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from setsail.tasks.task import Dropped, Overlong, Row, Task
from setsail.tokens.pack import Example
from setsail.tokens.tokenizer import Tokenizer


@dataclass(frozen=True, eq=False)
class PairBatch:
    """P pairs as D documents in one row of T tokens; of C candidates the first P are the positives in their order.

    Shapes: input_ids [T]; document_starts [D+1], the first 0 and the last T; queries [P] and candidates [C] are numbers
    of documents; hidden [P, C] is true where a candidate is no wrong answer for a query, its own positive left out;
    scores [P], or None where pairs have none.
    """

    input_ids: npt.NDArray[np.int64]
    document_starts: npt.NDArray[np.int32]
    queries: npt.NDArray[np.int64]
    candidates: npt.NDArray[np.int64]
    hidden: npt.NDArray[np.bool_]
    scores: npt.NDArray[np.float64] | None
    row_ids: tuple[str, ...] = ()

    @property
    def num_tokens(self) -> int:
        """T, all of them real: there is no padding."""
        return len(self.input_ids)

    @property
    def num_supervised(self) -> int:
        """P: a text to find for each query."""
        return len(self.queries)


def example(row: Row, tokenizer: Tokenizer, context: int, overlong: Overlong) -> tuple[Example, ...] | Dropped:
    """The one example of a row's texts, or why there is none."""
    texts = [tokenizer.encode_whole(message["content"]) for message in row.messages]
    longest = max(map(len, texts))
    if longest > context and overlong != "cut":
        return Dropped("overlong", f"{longest:,} tokens, the context has {context:,}")
    parts = [ids if len(ids) <= context else cut(ids, tokenizer, context) for ids in texts]
    starts = np.zeros(sum(map(len, parts)), dtype=np.bool_)
    starts[np.cumsum([0, *map(len, parts[:-1])])] = True
    ids = np.concatenate([np.array(part, dtype=np.int32) for part in parts])
    return (Example(ids, starts, row.id, "cut" if longest > context else "", row.label),)


def cut(ids: Sequence[int], tokenizer: Tokenizer, context: int) -> list[int]:
    """The beginning of a text that is too long, with what the tokenizer puts at its end."""
    end = tokenizer.text_end_ids
    return [*ids[: context - len(end)], *end]


def texts_of(example: Example) -> list[npt.NDArray[np.int32]]:
    """The ids of each text of an example: query, positive, negatives."""
    return np.split(example.ids, np.flatnonzero(example.loss_mask)[1:])


def to_show(example: Example) -> Example:
    """The example with its positive as what is learned, for a person."""
    places = [*np.flatnonzero(example.loss_mask).tolist(), len(example.ids)]
    shown = np.zeros(len(example.ids), dtype=np.bool_)
    shown[places[1] : places[2]] = True
    return replace(example, loss_mask=shown)


def prompt(row: Row, tokenizer: Tokenizer) -> list[int]:
    """The query as it is read."""
    return tokenizer.encode_whole(row.messages[0]["content"])


def reference(row: Row) -> str:
    """The text to be found."""
    return row.messages[1]["content"]


def make_batch(examples: Sequence[Example]) -> PairBatch:
    """The examples side by side: all queries, all positives, all negatives."""
    assert examples, "a batch needs an example"
    texts = [texts_of(each) for each in examples]
    documents = [
        *(each[0] for each in texts),
        *(each[1] for each in texts),
        *(negative for each in texts for negative in each[2:]),
    ]
    num_pairs = len(examples)
    return PairBatch(
        input_ids=np.concatenate(documents).astype(np.int64),
        document_starts=np.cumsum([0, *map(len, documents)]).astype(np.int32),
        queries=np.arange(num_pairs),
        candidates=np.arange(num_pairs, len(documents)),
        hidden=_no_wrong_answers([document.tobytes() for document in documents], num_pairs),
        scores=np.array([float(each.label) for each in examples]) if examples[0].label else None,
        row_ids=tuple(each.row_id for each in examples),
    )


def _no_wrong_answers(documents: Sequence[bytes], num_pairs: int) -> npt.NDArray[np.bool_]:
    """Where a candidate says what the query says, or what a positive of the same query says: it is no negative."""
    names = {document: number for number, document in enumerate(dict.fromkeys(documents))}
    text_D = np.array([names[document] for document in documents])
    query_P, positive_P, candidate_C = text_D[:num_pairs], text_D[num_pairs : 2 * num_pairs], text_D[num_pairs:]
    same_query_PP = query_P[:, None] == query_P[None]
    right_PC = same_query_PP @ (positive_P[:, None] == candidate_C[None])
    hidden_PC = right_PC | (query_P[:, None] == candidate_C[None])
    hidden_PC[np.arange(num_pairs), np.arange(num_pairs)] = False
    return hidden_PC


def documents_of(batch: PairBatch) -> list[npt.NDArray[np.int64]]:
    """The ids of each document of a batch."""
    return [batch.input_ids[start:end] for start, end in pairwise(batch.document_starts)]


TASK = Task("embed", example, prompt, reference, ("ndcg_at_10", "mrr_at_10", "recall_at_1", "spearman"))
