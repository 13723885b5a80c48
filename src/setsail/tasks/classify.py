"""Classify: texts, of which the label is learned.

A text is read as the encoder's own tokenizer writes it, special tokens around it. One longer than the context is
dropped; or, with `cut`, loses what is behind the context, but not its last special token. No token is supervised: the
label belongs to the whole text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from setsail.tasks.reading import Frame, Logits, Reading, example_of, softmax, whole
from setsail.tasks.task import Dropped, Overlong, Row, Task
from setsail.tokens.pack import Example
from setsail.tokens.read import Encoded
from setsail.tokens.tokenizer import Tokenizer


def texts(row: Row) -> tuple[str, ...]:
    """The text."""
    return (row.text,)


def example(row: Row, tokenizer: Tokenizer, context: int, overlong: Overlong) -> tuple[Example, ...] | Dropped:
    """The one example of a text, or why there is none."""
    read = whole(texts(row), row, tokenizer, context, overlong)
    if isinstance(read, Dropped):
        return read
    encoded, change = read
    return (example_of(encoded, row, change, row.label),)


def prompt(row: Row, tokenizer: Tokenizer) -> list[int]:
    """The text as it is read."""
    return list(tokenizer.read(*texts(row)).ids)


def reference(row: Row) -> str:
    """The label."""
    return row.label


def frame(rows: Iterable[Row]) -> Frame:
    """The labels of the training rows."""
    return Frame(label_order({row.label for row in rows}))


def targets(examples: Sequence[Example], frame: Frame) -> npt.NDArray[np.int64]:
    """Each label's place in the frame, [D]."""
    place = {label: number for number, label in enumerate(frame.names)}
    return np.array([place[each.label] for each in examples], dtype=np.int64)


def say(logits: Logits, encoded: Encoded, frame: Frame, texts: tuple[str, ...]) -> dict[str, Any]:
    """The most likely label and its probability, and that of every label."""
    shares = softmax(logits)
    best = int(np.argmax(logits))
    probabilities = {name: float(share) for name, share in zip(frame.names, shares, strict=True)}
    return {"label": frame.names[best], "probability": float(shares[best]), "probabilities": probabilities}


def figures(logits: Sequence[Logits], examples: Sequence[Example], frame: Frame) -> Mapping[str, float]:
    """How many of the labels are the likeliest ones."""
    right = np.array([each.argmax() for each in logits]) == targets(examples, frame)
    return {"accuracy": float(right.mean())}


def label_order(labels: Iterable[str]) -> tuple[str, ...]:
    """The different labels in the order of the logits: numbers by their value, words by their letters.

    >>> label_order(["10", "9", "9"]), label_order(["b", "10", "a"])
    (('9', '10'), ('10', 'a', 'b'))
    """
    different = set(labels)
    if all(label.removeprefix("-").isdecimal() for label in different):
        return tuple(sorted(different, key=lambda label: (int(label), label)))
    return tuple(sorted(different))


METRICS = ("accuracy", "macro_f1", "macro_precision", "macro_recall", "nats")
TASK = Task("classify", example, prompt, reference, METRICS)
READING = Reading("document", "one_label", ("text",), texts, frame, targets, say, figures)
