"""One part of the prepared rows, measured in a single pass over its file: lengths, scripts, groups, rows to read.

Held in memory: a few hundred rows, and 16 bytes for each. What does not live here: what the rows went through before
(`gather.py`).
"""

from __future__ import annotations

import functools
import itertools
import unicodedata
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from setsail.data.augment import MARK
from setsail.data.page.figures import Lengths, PartFigures, Sample
from setsail.data.page.shown import shown
from setsail.data.row import Row, contents, iterate_rows
from setsail.data.split import rank

SCRIPTS = ("common", "other", "latin", "han", "kana", "hangul", "cyrillic")
SAMPLES = 5
SAMPLE_CHARACTERS = 600
SAMPLE_TURNS = 8
LABEL_CHARACTERS = 60
ORIGIN_CHARACTERS = 120
_LAST_LETTER = 0x20000  # behind it stand Han and symbols only
# Letters by script, by Unicode 16 block; letters elsewhere are "other", all that is no letter is "common".
_RANGES = {
    "latin": (
        *((0x41, 0x5A), (0x61, 0x7A), (0xAA, 0xAA), (0xBA, 0xBA), (0xC0, 0x2AF), (0x1D00, 0x1D25), (0x1D2C, 0x1DBF)),
        *((0x1E00, 0x1EFF), (0x2C60, 0x2C7F), (0xA722, 0xA7FF), (0xAB30, 0xAB6F), (0xFB00, 0xFB06)),
        *((0xFF21, 0xFF3A), (0xFF41, 0xFF5A)),
    ),
    "han": ((0x3005, 0x3006), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3347F)),
    "kana": ((0x3041, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9D), (0x1AFF0, 0x1B16F)),
    "hangul": ((0x1100, 0x11FF), (0x3131, 0x318E), (0xA960, 0xA97F), (0xAC00, 0xD7FF), (0xFFA0, 0xFFDC)),
    "cyrillic": ((0x400, 0x52F), (0x1C80, 0x1C8F), (0x2DE0, 0x2DFF), (0xA640, 0xA69F), (0x1E030, 0x1E08F)),
}


def measure(path: Path, name: str) -> tuple[PartFigures, Counter[str]]:
    """The figures of a part of the rows, and how many of its rows have each label."""
    lengths, groups = array("q"), array("Q")
    labels: Counter[str] = Counter()
    made: Counter[str] = Counter()
    scripts = np.zeros(len(SCRIPTS), np.int64)
    samples: list[Row] = []
    rows = iterate_rows(path)
    while some := list(itertools.islice(rows, 512)):
        lengths.extend(sum(map(len, contents(row))) for row in some)
        groups.extend(rank(row.group, 0) for row in some if row.group)
        labels.update(row.label for row in some if row.label)
        made.update(mark.removeprefix(MARK).split()[0] for row in some for mark in row.marks if mark.startswith(MARK))
        scripts += script_counts("".join(text for row in some for text in contents(row)))
        # An id is a hash: the lowest are a fair sample that does not depend on the order of the rows.
        samples = sorted([*samples, *some], key=lambda row: row.id)[:SAMPLES]
    sizes = np.unique(np.array(groups, np.uint64), return_counts=True)[1]
    figures = PartFigures(
        name=name,
        num_rows=len(lengths),
        lengths=lengths_of(np.array(lengths, np.int64)),
        scripts=dict(zip(SCRIPTS, scripts.tolist(), strict=True)),
        num_groups=len(sizes),
        num_in_groups=len(groups),
        largest_group=int(sizes.max(initial=0)),
        made=dict(sorted(made.items())),
        samples=tuple(map(_sample, samples)),
    )
    return figures, labels


def lengths_of(lengths: npt.NDArray[np.int64]) -> Lengths:
    """The distribution of lengths; a percentile is the length of a row (nearest rank).

    >>> lengths_of(np.array([3, 12, 14, 60])).buckets
    ((2, 1), (5, 0), (10, 2), (20, 0), (50, 1))
    """
    if not len(lengths):
        return Lengths(0, 0, 0, 0, ())
    ordered = np.sort(lengths)
    median, percentile_95 = (int(ordered[-(-len(ordered) * share // 100) - 1]) for share in (50, 95))
    bounds = [0, *(digit * 10**power for power in range(13) for digit in (1, 2, 5))]
    places = np.searchsorted(bounds, ordered, side="right") - 1
    counts = np.bincount(places, minlength=len(bounds)).tolist()
    first, last = int(places[0]), int(places[-1])
    buckets = tuple((bounds[place], counts[place]) for place in range(first, last + 1))
    return Lengths(int(ordered.sum()), median, percentile_95, int(ordered[-1]), buckets)


def script_counts(text: str) -> npt.NDArray[np.int64]:
    """How many characters of each of SCRIPTS a text has.

    >>> dict(zip(SCRIPTS, script_counts("GPU 很快!").tolist()))["han"]
    2
    """
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    scripts = _scripts()[codes].tobytes()
    return np.array([scripts.count(number) for number in range(len(SCRIPTS))])


@functools.cache
def _scripts() -> npt.NDArray[np.uint8]:
    """The script of every code point."""
    table = np.zeros(0x110000, np.uint8)
    letters = [unicodedata.category(chr(code))[0] in "LM" for code in range(_LAST_LETTER)]
    table[:_LAST_LETTER][letters] = SCRIPTS.index("other")
    for script, ranges in _RANGES.items():
        for first, last in ranges:
            among = table[first : last + 1]
            among[(among > 0) | (first >= _LAST_LETTER)] = SCRIPTS.index(script)
    return table


def _sample(row: Row) -> Sample:
    texts = contents(row)
    roles = [message["role"] for message in row.messages] or ["text"]
    return Sample(
        id=row.id,
        origin=shown(row.origin, ORIGIN_CHARACTERS),
        label=shown(row.label, LABEL_CHARACTERS),
        marks=tuple(shown(mark, ORIGIN_CHARACTERS) for mark in row.marks[:SAMPLE_TURNS]),
        turns=tuple(zip(roles, _beginning(texts), strict=False)),
        num_turns=len(texts),
    )


def _beginning(texts: Sequence[str]) -> Iterator[str]:
    """The first texts, cut where together they pass what is shown of a row."""
    left = SAMPLE_CHARACTERS
    for text in texts[:SAMPLE_TURNS]:
        if left <= 0:
            return
        yield shown(text, left)
        left -= len(text)
