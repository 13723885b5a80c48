"""Answer: questions on a text, of which it is learned where the answer stands, or that there is none.

Question and context are read together. A pair longer than the context is dropped, or, with `cut`, the text loses its
end; where that takes the answer away, the pair is dropped; with `split` the text is read in windows, and those that do
not hold the answer have none. The first token stands for "there is no answer".

Source: Devlin et al. 2019, BERT (arXiv 1810.04805), sections 4.2 and 4.3.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from setsail.base.target import Span, spans_of
from setsail.tasks.reading import Frame, Logits, Reading, example_of, in_windows
from setsail.tasks.tag import tokens_of
from setsail.tasks.task import Dropped, Overlong, Row, Task
from setsail.tokens.pack import Example
from setsail.tokens.read import Encoded
from setsail.tokens.tokenizer import Tokenizer

LONGEST = 30  # tokens of an answer
NONE = (0, 0)  # first and last token where there is no answer


def texts(row: Row) -> tuple[str, ...]:
    """The question and its context."""
    return tuple(message["content"] for message in row.messages)


def example(row: Row, tokenizer: Tokenizer, context: int, overlong: Overlong) -> tuple[Example, ...] | Dropped:
    """The example of a question, or those of its windows, its answer as places of tokens; or why there is none."""
    read = in_windows(texts(row), row, tokenizer, context, overlong)
    if isinstance(read, Dropped):
        return read
    spans, examples = spans_of(row.target), []
    for encoded, change in read:
        places = [(span, *tokens_of(span, encoded)) for span in spans]
        held = [(first, last) for span, first, last in places if first < last and _is_whole(span, encoded)]
        if spans and not held and change != "split":
            return Dropped("answer_behind_the_cut", f"the context of {context:,} tokens ends before the answer")
        first, last = (held[0][0], held[0][1] - 1) if held else NONE
        examples.append(example_of(encoded, row, change, json.dumps([first, last]), marks=True))
    return tuple(examples)


def _is_whole(span: Span, encoded: Encoded) -> bool:
    """Whether what is read of the text holds all of a span."""
    read = [offsets for offsets, inside in zip(encoded.offsets, encoded.in_last, strict=True) if inside]
    return read[0][0] <= span.start and span.end <= read[-1][1]


def prompt(row: Row, tokenizer: Tokenizer) -> list[int]:
    """Question and context as they are read."""
    return list(tokenizer.read(*texts(row)).ids)


def reference(row: Row) -> str:
    """The first answer, "" where there is none."""
    found = spans_of(row.target)
    return texts(row)[-1][found[0].start : found[0].end] if found else ""


def frame(rows: Iterable[Row]) -> Frame:
    """Where an answer starts and where it ends."""
    return Frame(("start", "end"))


def targets(examples: Sequence[Example], frame: Frame) -> npt.NDArray[np.int64]:
    """First and last token of each answer, counted from the start of its document, [D, 2]."""
    return np.array([json.loads(each.label) for each in examples], dtype=np.int64)


def say(logits: Logits, encoded: Encoded, frame: Frame, texts: tuple[str, ...]) -> dict[str, Any]:
    """The answer with its place and probability; "" where none is likelier than any."""
    allowed = np.array(encoded.in_last)
    allowed[0] = True
    first, last = best_span(logits, allowed)
    masked = np.where(allowed[:, None], logits, -np.inf)
    sureness = (
        masked[[first, last], [0, 1]] - np.log(np.exp(masked - masked.max(axis=0)).sum(axis=0)) - masked.max(axis=0)
    )
    said: dict[str, Any] = {"answer": "", "start": 0, "end": 0, "probability": float(np.exp(sureness.sum()))}
    if (first, last) == NONE:
        return said
    start, end = encoded.offsets[first][0], encoded.offsets[last][1]
    return {**said, "answer": texts[-1][start:end], "start": start, "end": end}


def best_span(logits: Logits, allowed: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """First and last token of the likeliest answer, of at most LONGEST tokens; NONE where that is likelier."""
    best, most = NONE, float(logits[0].sum())
    ends = np.where(allowed, logits[:, 1], -np.inf)
    for first in np.flatnonzero(allowed[1:]) + 1:
        last = int(first + ends[first : first + LONGEST].argmax())
        if (total := float(logits[first, 0] + ends[last])) > most:
            best, most = (int(first), last), total
    return best


def figures(logits: Sequence[Logits], examples: Sequence[Example], frame: Frame) -> Mapping[str, float]:
    """How many answers begin and end at the very tokens."""
    right = [
        best_span(each, np.concatenate([[True], example.loss_mask[1:]])) == tuple(json.loads(example.label))
        for each, example in zip(logits, examples, strict=True)
    ]
    return {"exact_span": float(np.mean(right))}


TASK = Task("answer", example, prompt, reference, ("exact_match", "token_f1"))
READING = Reading("span", "span", ("question", "context"), texts, frame, targets, say, figures)
