"""Slices of a test: how good the systems are on rows of one language, of one length, from one source.

A mean hides who is served badly. Slices are cut from what stands in the rows; each metric is measured again on the rows
of a slice, with the same draws in groups. Not here: label by label (`class_scores.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from setsail.data.row import Row, contents
from setsail.data.steps.language import language_guess
from setsail.evaluate.interval import MIN_UNITS, Interval
from setsail.evaluate.metrics import METRICS

MOST_OF_A_KIND = 12  # slices, those with the most rows
UNKNOWN = "?"  # the language of a text with too few letters to tell
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Slice:
    """Rows that have one thing in common: `by` is language, length or source; each system's value on them."""

    by: str
    name: str
    num_rows: int
    scores: Mapping[str, Interval]


@dataclass(frozen=True)
class Slices:
    """One metric slice by slice, of the first system and the one that it is compared with."""

    metric: str
    whole: Mapping[str, Interval]
    found: tuple[Slice, ...]

    @property
    def weak(self) -> list[Slice]:
        """The slices on which the first system is shown to be worse than on the whole."""
        system, value = next((name, each.value) for name, each in self.whole.items())
        lower = any(metric.name == self.metric and metric.better == "lower" for metric in METRICS)
        scores = ((each, each.scores[system]) for each in self.found)
        return [each for each, own in scores if (own.low > value if lower else own.high < value)]


@dataclass(frozen=True)
class Told:
    """What of a row says to which slices it belongs: its text, and where it stood."""

    text: str
    origin: str


def of_rows(rows: Sequence[Row]) -> list[Told]:
    """What of each row is looked at."""
    return [Told("\n".join(contents(row)), row.origin) for row in rows]


def cut(rows: Sequence[Told], metric: str, measure: Callable[[Places], Mapping[str, Interval]]) -> Slices:
    """The slices of a test; `measure` gives each system's value on the rows at these places.

    Where all rows are alike, or too few of them are, nothing is cut.
    """
    found = []
    for by, places in _cut(rows):
        for name, these in places.items():
            found.append(Slice(by, name, len(these), measure(these)))
    return Slices(metric, measure(np.arange(len(rows))), tuple(found))


def _cut(rows: Sequence[Told]) -> Iterator[tuple[str, dict[str, Places]]]:
    texts = [row.text for row in rows]
    names = {
        "language": [language_guess(text)[0] or UNKNOWN for text in texts],
        "length": _lengths([len(text) for text in texts]),
        "source": [source_of(row.origin) for row in rows],
    }
    for by, of_row in names.items():
        counts = Counter(of_row)
        order = sorted(counts) if by == "length" else [name for name, _ in counts.most_common(MOST_OF_A_KIND)]
        places = {name: np.flatnonzero(np.array(of_row) == name) for name in order if counts[name] >= MIN_UNITS}
        if len(counts) > 1 and places:
            yield by, places


def _lengths(characters: Sequence[int]) -> list[str]:
    """Thirds of the rows by length; the names say from how many characters to how many, and sort by length."""
    low, high = (int(value) for value in np.quantile(characters, [1 / 3, 2 / 3], method="lower"))
    width = len(str(max(characters)))
    names = [f"{0:>{width}}–{low}", f"{low + 1:>{width}}–{high}", f"{high + 1:>{width}}–{max(characters)}"]
    return [names[(count > low) + (count > high)] for count in characters]


def source_of(origin: str) -> str:
    """The file of a row's place.

    >>> source_of("reviews/pos.txt:17"), source_of("numpy.linalg.norm")
    ('reviews/pos.txt', 'numpy.linalg.norm')
    """
    file, _, line = origin.rpartition(":")
    return file if file and line.isdigit() else origin
