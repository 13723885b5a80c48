"""Spans follow their text: where cleaning and masking change what stands around a span, or in it, its offsets move.

The invariant: a span that is kept covers what is left of the characters that it covered, and what was put in their
place.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from rapidfuzz.distance import Levenshtein

from setsail.base.target import Span, of_spans, spans_of
from setsail.data.row import Drop, Row, contents


def moved(spans: Iterable[Span], before: str, after: str) -> tuple[Span, ...] | None:
    """The spans of `before` in `after`, by the fewest changes that lead there; None where nothing is left of one.

    >>> moved([Span(4, 8, "LOC")], "to  Rome ", "to Rome")
    (Span(start=3, end=7, label='LOC'),)
    """
    if before == after:
        return tuple(spans)
    changes: Any = Levenshtein.opcodes(before, after)  # its stubs mix words and numbers
    starts, ends = {}, {}  # where each character of `before` begins and ends in `after`
    for tag, first, last, new_first, _ in changes:
        for index in range(first, last):
            starts[index] = new_first + (index - first) * (tag != "delete")
            ends[index] = starts[index] + (tag != "delete")
    for tag, first, _, new_first, new_last in changes:
        if tag == "insert":  # what is put in belongs to what stands beside it, on either side
            starts[first], ends[first - 1] = new_first, new_last
    found = []
    for span in spans:
        start, end = starts[span.start], ends[span.end - 1]
        left = after[start:end]
        start += len(left) - len(left.lstrip())
        end -= len(left) - len(left.rstrip())
        if start >= end:
            return None
        found.append(Span(start, end, span.label))
    return tuple(found)


def follow(row: Row, before: Row) -> Row | Drop:
    """A changed row with its spans where they stand now. `before` is the row as it was read."""
    spans = spans_of(row.target)
    if not spans:
        return row
    found = moved(spans, contents(before)[-1], contents(row)[-1])
    if found is None:
        return Drop(row.id, row.origin, "span_lost", "a marked part of the text was cleaned away")
    return replace(row, target=of_spans(found))
