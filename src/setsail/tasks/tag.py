"""Tag: names and other parts of a text, of which begin, end and kind are learned.

Each token is told to begin a part of a kind (B-), to go on with one (I-), or to stand outside (O). A token that stands
half in a part is taken into it. A text longer than the context is dropped, or, with `cut`, loses its end, or, with
`split`, is read in windows; a part that a window holds half of is not learned there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from setsail.base.target import Span, spans_of
from setsail.tasks.classify import prompt, texts
from setsail.tasks.reading import Frame, Logits, Reading, example_of, in_windows, softmax
from setsail.tasks.task import Dropped, Overlong, Row, Task
from setsail.tokens.pack import NOT_SUPERVISED, Example
from setsail.tokens.read import Encoded
from setsail.tokens.tokenizer import Tokenizer

OUTSIDE = "O"


def example(row: Row, tokenizer: Tokenizer, context: int, overlong: Overlong) -> tuple[Example, ...] | Dropped:
    """The one example of a text, or those of its windows, its spans as places of tokens; or why there is none."""
    read = in_windows(texts(row), row, tokenizer, context, overlong)
    if isinstance(read, Dropped):
        return read
    return tuple(_example(encoded, row, change) for encoded, change in read)


def _example(encoded: Encoded, row: Row, change: str) -> Example:
    held = [(span, *tokens_of(span, encoded)) for span in spans_of(row.target)]
    inside = [(span, first, last) for span, first, last in held if first < last]  # the others are not in what is read
    is_half = [
        change == "split" and (encoded.offsets[first][0] > span.start or encoded.offsets[last - 1][1] < span.end)
        for span, first, last in inside
    ]
    whole = [[first, last, span.label] for (span, first, last), half in zip(inside, is_half, strict=True) if not half]
    made = example_of(encoded, row, change, json.dumps(whole, ensure_ascii=False), marks=True)
    for (_, first, last), half in zip(inside, is_half, strict=True):
        if half:
            made.loss_mask[first:last] = False
    return made


def tokens_of(span: Span, encoded: Encoded) -> tuple[int, int]:
    """The first token that holds some of the span, and the one behind the last; the same where there is none."""
    held = [
        place
        for place, ((start, end), inside) in enumerate(zip(encoded.offsets, encoded.in_last, strict=True))
        if inside and start < span.end and span.start < end
    ]
    return (held[0], held[-1] + 1) if held else (0, 0)


def reference(row: Row) -> str:
    """The parts with their kinds, in the order of the text."""
    return "; ".join(f"{row.text[start:end]} ({label})" for start, end, label in spans_of(row.target))


def frame(rows: Iterable[Row]) -> Frame:
    """O, and begin and go on of each kind."""
    kinds = sorted({span.label for row in rows for span in spans_of(row.target)})
    return Frame((OUTSIDE, *(f"{position}-{kind}" for kind in kinds for position in "BI")))


def targets(examples: Sequence[Example], frame: Frame) -> npt.NDArray[np.int64]:
    """Each token's place in the frame, [T] of all examples; −100 for the tokenizer's own marks."""
    place = {name: number for number, name in enumerate(frame.names)}
    columns = []
    for each in examples:
        column = np.where(each.loss_mask, place[OUTSIDE], NOT_SUPERVISED).astype(np.int64)
        for first, last, kind in json.loads(each.label):
            if f"B-{kind}" in place:  # a kind that training never saw is none of its names
                column[first:last] = place[f"I-{kind}"]
                column[first] = place[f"B-{kind}"]
        columns.append(column)
    return np.concatenate(columns)


def say(logits: Logits, encoded: Encoded, frame: Frame, texts: tuple[str, ...]) -> dict[str, Any]:
    """Every part that was found: its place, text, kind, and the mean probability of its tokens."""
    shares = softmax(logits)
    best = shares.argmax(axis=-1)
    found: list[list[Any]] = []  # first token, last token, kind
    for place, inside in enumerate(encoded.in_last):
        position, _, kind = frame.names[best[place]].partition("-") if inside else (OUTSIDE, "", "")
        goes_on = position == "I" and found and found[-1][2] == kind and found[-1][1] == place - 1
        if goes_on:
            found[-1][1] = place
        elif position != OUTSIDE:
            found.append([place, place, kind])
    spans = []
    for first, last, kind in found:
        start, end = encoded.offsets[first][0], encoded.offsets[last][1]
        sureness = float(shares[first : last + 1].max(axis=-1).mean())
        spans.append({"start": start, "end": end, "label": kind, "text": texts[-1][start:end], "probability": sureness})
    return {"spans": spans}


def figures(logits: Sequence[Logits], examples: Sequence[Example], frame: Frame) -> Mapping[str, float]:
    """How many tokens are told right, and of those that stand inside a part."""
    said, true = np.concatenate([each.argmax(axis=-1) for each in logits]), targets(examples, frame)
    inside = true > 0
    return {
        "token_accuracy": float((said == true)[true >= 0].mean()),
        "inside_accuracy": float((said == true)[inside].mean()) if inside.any() else 0.0,
    }


TASK = Task("tag", example, prompt, reference, ("entity_f1", "entity_precision", "entity_recall"))
READING = Reading("token", "tags", ("text",), texts, frame, targets, say, figures)
