"""Relate: how two things that a text names have to do with one another.

The text is read with both marked, the head between $ and the tail between # (`base.target.marked`), and the relation is
its label.
"""

from __future__ import annotations

from typing import Any

from setsail.base.target import marked, spans_of
from setsail.tasks.classify import METRICS, figures, frame, reference, targets
from setsail.tasks.classify import say as say_label
from setsail.tasks.reading import Frame, Logits, Reading, example_of, whole
from setsail.tasks.task import Dropped, Overlong, Row, Task
from setsail.tokens.pack import Example
from setsail.tokens.read import Encoded
from setsail.tokens.tokenizer import Tokenizer


def texts(row: Row) -> tuple[str, ...]:
    """The text with head and tail marked."""
    return (marked(row.text, spans_of(row.target)),)


def example(row: Row, tokenizer: Tokenizer, context: int, overlong: Overlong) -> tuple[Example, ...] | Dropped:
    """The one example of a text, or why there is none: a cut may take a marked name away."""
    read = whole(texts(row), row, tokenizer, context, overlong)
    if isinstance(read, Dropped):
        return read
    encoded, change = read
    if change and not _holds_both(encoded, row):
        return Dropped("name_behind_the_cut", f"the context of {context:,} tokens ends before both names were read")
    return (example_of(encoded, row, change, row.label),)


def _holds_both(encoded: Encoded, row: Row) -> bool:
    last_read = max(end for (_, end), inside in zip(encoded.offsets, encoded.in_last, strict=True) if inside)
    behind = len(row.text) - max(span.end for span in spans_of(row.target))
    return last_read >= len(texts(row)[0]) - behind


def prompt(row: Row, tokenizer: Tokenizer) -> list[int]:
    """The marked text as it is read."""
    return list(tokenizer.read(*texts(row)).ids)


def say(logits: Logits, encoded: Encoded, frame: Frame, texts: tuple[str, ...]) -> dict[str, Any]:
    """The most likely relation and its probability, and that of every relation."""
    said = say_label(logits, encoded, frame, texts)
    return {"relation": said.pop("label"), **said}


TASK = Task("relate", example, prompt, reference, METRICS)
READING = Reading("document", "one_label", ("text", "head", "tail"), texts, frame, targets, say, figures)
