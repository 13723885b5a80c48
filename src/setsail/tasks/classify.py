"""Classify: texts, of which the label is learned.

A text is read as the encoder's own tokenizer writes it, special tokens around it. One longer than the context is
dropped; or, with `cut`, loses what is behind the context, but not its last special token. No token is supervised: the
label belongs to the whole text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from setsail.tasks.task import Dropped, Overlong, Row, Task
from setsail.tokens.pack import Example
from setsail.tokens.tokenizer import Tokenizer


@dataclass(frozen=True, eq=False)
class LabelledBatch:
    """Documents in one row of T tokens, each with the index of its label.

    Shapes: input_ids [T]; document_starts [D+1], the first 0 and the last T; labels [D].
    """

    input_ids: npt.NDArray[np.int64]
    document_starts: npt.NDArray[np.int32]
    labels: npt.NDArray[np.int64]
    row_ids: tuple[str, ...] = ()

    @property
    def num_tokens(self) -> int:
        """T, all of them real: there is no padding."""
        return len(self.input_ids)

    @property
    def num_supervised(self) -> int:
        """D: a label each."""
        return len(self.labels)


@dataclass(frozen=True)
class Prediction:
    """The most likely label of a text and its probability, and that of every label."""

    label: str
    probability: float
    probabilities: Mapping[str, float]


def example(row: Row, tokenizer: Tokenizer, context: int, overlong: Overlong) -> tuple[Example, ...] | Dropped:
    """The one example of a text, or why there is none."""
    ids = tokenizer.encode_whole(row.text)
    if len(ids) <= context:
        return (_example(ids, row, ""),)
    if overlong == "cut":
        return (_example(cut(ids, tokenizer, context), row, "cut"),)
    return Dropped("overlong", f"{len(ids):,} tokens, the context has {context:,}")


def cut(ids: Sequence[int], tokenizer: Tokenizer, context: int) -> list[int]:
    """The beginning of a text that is too long, with what the tokenizer puts at its end."""
    end = tokenizer.text_end_ids
    return [*ids[: context - len(end)], *end]


def prompt(row: Row, tokenizer: Tokenizer) -> list[int]:
    """The text as it is read."""
    return tokenizer.encode_whole(row.text)


def reference(row: Row) -> str:
    """The label."""
    return row.label


def make_batch(examples: Sequence[Example], labels: Mapping[str, int]) -> LabelledBatch:
    """The examples side by side; `labels` gives each label's index."""
    assert examples, "a batch needs an example"
    lengths = [len(each.ids) for each in examples]
    return LabelledBatch(
        input_ids=np.concatenate([each.ids for each in examples]).astype(np.int64),
        document_starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32),
        labels=np.array([labels[each.label] for each in examples], dtype=np.int64),
        row_ids=tuple(each.row_id for each in examples),
    )


def predict(logits: npt.NDArray[np.float64], labels: Sequence[str]) -> Prediction:
    """What logits [C] say, in the order of the labels.

    >>> predict(np.array([0.0, 0.0, np.log(2.0)]), ["a", "b", "c"]).label
    'c'
    """
    shares = np.exp(logits - logits.max())
    probabilities = [float(share) for share in shares / shares.sum()]
    best = int(np.argmax(logits))
    return Prediction(labels[best], probabilities[best], dict(zip(labels, probabilities, strict=True)))


def label_order(labels: Sequence[str]) -> tuple[str, ...]:
    """The different labels in the order of the logits: numbers by their value, words by their letters.

    >>> label_order(["10", "9", "9"]), label_order(["b", "10", "a"])
    (('9', '10'), ('10', 'a', 'b'))
    """
    different = set(labels)
    if all(label.removeprefix("-").isdecimal() for label in different):
        return tuple(sorted(different, key=lambda label: (int(label), label)))
    return tuple(sorted(different))


def _example(ids: Sequence[int], row: Row, change: str) -> Example:
    nothing = np.zeros(len(ids), dtype=np.bool_)
    return Example(np.array(ids, dtype=np.int32), nothing, row.id, change, row.label)


TASK = Task("classify", example, prompt, reference, ("accuracy", "macro_f1", "macro_precision", "macro_recall", "nats"))
