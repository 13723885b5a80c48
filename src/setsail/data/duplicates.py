"""Rows that say the same: exactly, by their words, and nearly, by the Jaccard similarity of runs of five words.

Near copies are proposed by MinHash (bands of equal minima, found by sorting, so that sketches may lie on the disk) and
confirmed by the true similarity, so that none is removed by chance; a pair close to the threshold may be missed. Rows
earlier in the order win. Everything is deterministic. What does not live here: what makes a sketch (`sketch.py`), what
is done with a copy (`choose.py`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from setsail.base.target import HEAD, TAIL, marked, spans_of
from setsail.data.row import BEFORE_SPEAKING, Row
from setsail.data.sketch import PERMUTATIONS, Sketches, joined, sketch

# Around the names of a relation, in words: copies are told by their words alone, without $ and #.
_MARK_WORDS = {HEAD: "headname", TAIL: "tailname"}
# 16 bands of 4 propose a pair of similarity 0.8 with probability 0.9998; a lower threshold needs shorter bands.
_BAND, _SHORT_BAND, _SHORT_BELOW = 4, 2, 0.6
# In a bucket a row is held against this many of its first rows, and of those just before it: buckets overlap.
_FIRSTS, _NEIGHBOURS = 2, 2
_EDGES_AT_ONCE = 1 << 16
# The estimate from 64 minima is off by more than this about once in 30,000 pairs at a similarity of 0.85.
_SLACK = 0.25

First = npt.NDArray[np.int64]  # for each row the index of the first one that it repeats; of a row that stays, its own


def content_of(row: Row) -> str:
    """What makes a row the same as another: who says what, without the system prompt and the list of tools.

    Of two names in a text, which ones.
    """
    if row.label and row.target:
        return marked(row.text, spans_of(row.target), _MARK_WORDS)
    turns = [f"{m['role']}\n{m['content']}" for m in row.messages if m["role"] not in BEFORE_SPEAKING]
    return "\n\n".join(turns) if turns else row.text


def exact_copies(exact: npt.NDArray[np.uint64]) -> First:
    """For each row the first one with the same words. Shape: exact (N, 2)."""
    order = np.lexsort((exact[:, 1], exact[:, 0]))
    sorted_keys = exact[order]
    opens = np.ones(len(order), bool)
    opens[1:] = (sorted_keys[1:] != sorted_keys[:-1]).any(axis=1)
    first = np.empty(len(order), np.int64)
    first[order] = order[opens][np.cumsum(opens) - 1] if len(order) else order
    return first


def near_copies(
    sketches: Sketches,
    threshold: float,
    *,
    rows: First | None = None,
    may_pair: Callable[[int, int], bool] = lambda left, right: True,
) -> First:
    """For each place the most similar earlier one that stays and is at least this similar, of equals the first.

    Places count `rows` (all by default) in their order of precedence. `may_pair` can say of two rows that they are no
    copies, however similar.
    """
    rows = np.arange(len(sketches)) if rows is None else rows
    first = np.arange(len(rows))
    similarity = _Similarity(sketches)
    for later, proposed in _proposed(sketches, rows, threshold, firsts=_FIRSTS, neighbours=_NEIGHBOURS):
        best = 0.0
        for earlier in sorted({int(first[place]) for place in proposed}):
            score = similarity(int(rows[later]), int(rows[earlier]))
            if score >= threshold and score > best and may_pair(int(rows[later]), int(rows[earlier])):
                best, first[later] = score, earlier
    return first


def contaminated(test_rows: Sequence[Row], train_rows: Sequence[Row], threshold: float) -> dict[str, str]:
    """For each test row that stands in train, exactly or nearly: its id, and the id of the train row."""
    num_train = len(train_rows)
    sketches = joined([sketch([content_of(row) for row in part]) for part in (train_rows, test_rows)])
    originals = {place: int(first) for place, first in enumerate(exact_copies(sketches.exact)) if first < num_train}
    similarity = _Similarity(sketches)
    for later, proposed in _proposed(sketches, np.arange(len(sketches)), threshold, firsts=8, neighbours=0):
        scored = [(similarity(later, place), -place) for place in proposed if place < num_train <= later]
        if scored and later not in originals and max(scored)[0] >= threshold:
            originals[later] = -max(scored)[1]
    return {
        row.id: train_rows[originals[place]].id
        for place, row in enumerate(test_rows, start=num_train)
        if place in originals
    }


def jaccard(left: npt.NDArray[np.uint32], right: npt.NDArray[np.uint32]) -> float:
    """How much of two sorted sets is shared, 0 to 1."""
    shared = len(np.intersect1d(left, right, assume_unique=True))
    return shared / (len(left) + len(right) - shared)


class _Similarity:
    """The true similarity of two rows; the sets of rows that were looked at lately are kept."""

    def __init__(self, sketches: Sketches) -> None:
        self._set = functools.lru_cache(maxsize=4096)(sketches.gram_set)

    def __call__(self, left: int, right: int) -> float:
        return jaccard(self._set(left), self._set(right))


def _proposed(
    sketches: Sketches, rows: First, threshold: float, *, firsts: int, neighbours: int
) -> Iterator[tuple[int, list[int]]]:
    """Each place that shares a bucket with earlier ones and may be similar enough, and those places."""
    num_rows = len(rows)
    width = _SHORT_BAND if threshold < _SHORT_BELOW else _BAND
    codes = np.empty(0, np.int64)  # one number for each pair of places
    for band in range(0, PERMUTATIONS, width):
        later, earlier = _in_one_bucket(_bucket(sketches.minhash[:, band : band + width], rows), firsts, neighbours)
        codes = np.union1d(codes, later * num_rows + earlier)
    for start in range(0, len(codes), _EDGES_AT_ONCE):
        later, earlier = np.divmod(codes[start : start + _EDGES_AT_ONCE], num_rows)
        agreed = (sketches.minhash[rows[later]] == sketches.minhash[rows[earlier]]).mean(axis=1)
        codes[start : start + _EDGES_AT_ONCE][agreed < threshold - _SLACK] = -1
    codes = codes[codes >= 0]
    if len(codes):
        later, earlier = np.divmod(codes, num_rows)
        bounds = np.flatnonzero(np.diff(later)) + 1
        for group in np.split(np.arange(len(codes)), bounds):
            yield int(later[group[0]]), earlier[group].tolist()


def _bucket(minima: npt.NDArray[np.uint32], rows: First) -> npt.NDArray[np.uint64]:
    """One number for each row's minima in a band."""
    keys = np.zeros(len(rows), np.uint64)
    for column in range(minima.shape[1]):
        keys = keys * np.uint64(0x9E3779B97F4A7C15) + minima[:, column][rows]
    return keys


def _in_one_bucket(keys: npt.NDArray[np.uint64], firsts: int, neighbours: int) -> tuple[First, First]:
    """Pairs of places with the same key, the later one first."""
    order = np.argsort(keys, kind="stable")
    opens = np.ones(len(order), bool)
    opens[1:] = keys[order][1:] != keys[order][:-1]
    starts = np.flatnonzero(opens)[np.cumsum(opens) - 1] if len(order) else order
    within = np.arange(len(order)) - starts
    pairs = [np.empty((2, 0), np.int64)]
    for place in range(firsts):
        later = np.flatnonzero(within > place)
        pairs.append(np.stack([order[later], order[starts[later] + place]]))
    for distance in range(1, neighbours + 1):
        later = np.flatnonzero(within >= distance + firsts)
        pairs.append(np.stack([order[later], order[later - distance]]))
    later, earlier = np.concatenate(pairs, axis=1)
    return later, earlier
