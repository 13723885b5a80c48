"""What is to be said of a text where it is not one label: spans in it, several labels, or a score; as one line of JSON.

A row carries it from the data room to the task. The invariant: offsets are characters of the row's last piece of text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

# What figures a model gives: of a text, of each token, or of where a part starts and ends.
Head = Literal["document", "token", "span"]
HEAD, TAIL = "head", "tail"  # what the two spans of a relation are called
_MARKS = {HEAD: "$", TAIL: "#"}


class Span(NamedTuple):
    """Characters `start` to `end` (not included) of a text, and what they are."""

    start: int
    end: int
    label: str


def of_spans(spans: Iterable[Span]) -> str:
    """A target of spans, in the order of the text.

    >>> of_spans([Span(7, 9, "LOC"), Span(0, 2, "PER")])
    '{"spans": [[0, 2, "PER"], [7, 9, "LOC"]]}'
    """
    return _line({"spans": sorted([span.start, span.end, span.label] for span in spans)})


def of_labels(labels: Iterable[str]) -> str:
    """A target of labels, each once, in alphabetical order."""
    return _line({"labels": sorted(set(labels))})


def of_score(score: float) -> str:
    """A target that is a number. It must be finite."""
    assert math.isfinite(score), score
    return _line({"score": score})


def spans_of(target: str) -> tuple[Span, ...]:
    """The spans of a target; none where it holds none.

    >>> spans_of('{"spans": [[0, 2, "PER"]]}')
    (Span(start=0, end=2, label='PER'),)
    """
    return tuple(Span(*span) for span in json.loads(target or "{}").get("spans", ()))


def labels_of(target: str) -> tuple[str, ...]:
    """The labels of a target; none where it holds none."""
    return tuple(json.loads(target or "{}").get("labels", ()))


def score_of(target: str) -> float:
    """The number that a target is. Raises: KeyError where it is none."""
    return float(json.loads(target)["score"])


def span_named(spans: Sequence[Span], label: str) -> Span:
    """The span that is called so. Raises: StopIteration where none is."""
    return next(span for span in spans if span.label == label)


def marked(text: str, spans: Iterable[Span], marks: Mapping[str, str] = _MARKS) -> str:
    """The text with its head between $ and its tail between #, or between other marks.

    Source: Wu and He 2019, R-BERT (arXiv 1905.08284), section 3.2.

    >>> marked("Ann lives in Rome.", [Span(0, 3, "head"), Span(13, 17, "tail")])
    '$ Ann $ lives in # Rome #.'
    """
    for span in sorted(spans, reverse=True):
        mark = marks[span.label]
        text = f"{text[: span.start]}{mark} {text[span.start : span.end]} {mark}{text[span.end :]}"
    return text


def _line(value: dict[str, object]) -> str:
    return json.dumps(value, ensure_ascii=False)
