"""Several labels for a text, or none: each is learned as a question of its own, yes or no.

A text is read as in `classify`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from setsail.base.target import labels_of
from setsail.tasks.classify import label_order, prompt, texts
from setsail.tasks.reading import Frame, Logits, Reading, example_of, whole
from setsail.tasks.task import Dropped, Overlong, Row, Task
from setsail.tokens.pack import Example
from setsail.tokens.read import Encoded
from setsail.tokens.tokenizer import Tokenizer


def example(row: Row, tokenizer: Tokenizer, context: int, overlong: Overlong) -> tuple[Example, ...] | Dropped:
    """The one example of a text, or why there is none."""
    read = whole(texts(row), row, tokenizer, context, overlong)
    if isinstance(read, Dropped):
        return read
    encoded, change = read
    return (example_of(encoded, row, change, row.target),)


def reference(row: Row) -> str:
    """The labels, side by side."""
    return " | ".join(labels_of(row.target))


def frame(rows: Iterable[Row]) -> Frame:
    """The labels that some training row has."""
    return Frame(label_order({label for row in rows for label in labels_of(row.target)}))


def targets(examples: Sequence[Example], frame: Frame) -> npt.NDArray[np.float64]:
    """1 where a text has the label, [D, C]; labels that training has not seen are nowhere."""
    place = {label: number for number, label in enumerate(frame.names)}
    found = np.zeros((len(examples), len(frame.names)))
    for line, each in zip(found, examples, strict=True):
        line[[place[label] for label in labels_of(each.label) if label in place]] = 1.0
    return found


def say(logits: Logits, encoded: Encoded, frame: Frame, texts: tuple[str, ...]) -> dict[str, Any]:
    """The labels that are likelier than not, and the probability of every label."""
    chances = 1 / (1 + np.exp(-logits))
    probabilities = {name: float(chance) for name, chance in zip(frame.names, chances, strict=True)}
    return {"labels": [name for name, chance in probabilities.items() if chance >= 0.5], "probabilities": probabilities}


def figures(logits: Sequence[Logits], examples: Sequence[Example], frame: Frame) -> Mapping[str, float]:
    """F1 over all labels of all texts."""
    true, said = targets(examples, frame) > 0, np.stack(logits) >= 0
    both = 2 * (true & said).sum()
    return {"micro_f1": float(both / max(1, true.sum() + said.sum()))}


TASK = Task("labels", example, prompt, reference, ("micro_f1", "macro_f1", "exact_match", "auroc"))
READING = Reading("document", "labels", ("text",), texts, frame, targets, say, figures)
