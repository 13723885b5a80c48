"""Sharing rows out into train, validation and test, so that no group stands in two of them.

Groups are taken in the order of a hash of seed and group: a row's part depends on neither the order of the file nor
the clock, and mostly stays when rows are added. Or in the order of time: the newest are the test. What does not live
here: what a group is (`reading.py`), strata and given parts (`choose.py`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from setsail.base.errors import DataError

TRAIN, VALIDATION, TEST = 0, 1, 2

PartCodes = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Groups:
    """The groups of N rows. Shapes: of (N,) each row's group; sizes and ranks (G,); the first in rank are held out."""

    of: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    ranks: npt.NDArray[np.float64] | npt.NDArray[np.uint64]
    by_time: bool = False


def groups_of(
    ids: npt.NDArray[np.uint64],
    group: npt.NDArray[np.uint64],
    grouped: npt.NDArray[np.bool_],
    *,
    ranks: npt.NDArray[np.uint64],
    time: npt.NDArray[np.float64] | None = None,
) -> Groups:
    """The groups of rows; a row without a group is its own. They have the ranks of their rows, or newest first."""
    _, first, of, sizes = np.unique(
        np.where(grouped, group, ids), return_index=True, return_inverse=True, return_counts=True
    )
    of = of.reshape(-1)
    if time is None:
        return Groups(of, sizes, ranks[first])
    newest = np.full(len(first), -np.inf)
    np.maximum.at(newest, of, time)  # a group is as old as its newest row
    return Groups(of, sizes, -newest, by_time=True)


def split(groups: Groups, *, validation: float, test: float) -> PartCodes:
    """A part for each row, whole groups at a time.

    Raises:
        DataError: there are fewer groups than parts.
    """
    num_rows = len(groups.of)
    shares = {TEST: test, VALIDATION: validation}
    wanted = {part: max(1, round(share * num_rows)) for part, share in shares.items() if share > 0}
    if len(groups.sizes) <= len(wanted):
        raise DataError(
            f"{num_rows:,} rows fall into {len(groups.sizes)} groups, too few for {len(wanted) + 1} parts",
            hint="name another column in data.split.by, or leave it out",
        )
    order = np.argsort(groups.ranks, kind="stable")
    part_of = np.full(len(groups.sizes), TRAIN, np.int8)
    # The largest group is for training: were it held out, little would be left to learn from.
    candidates = order[::-1] if groups.by_time else order
    largest = candidates[np.argmax(groups.sizes[candidates])]
    free = order[order != largest]
    for place, (part, count) in enumerate(wanted.items(), start=1):
        taken = _take(groups.sizes[free], count, spare=len(wanted) - place)
        part_of[free[taken]] = part
        free = free[~taken]
    parts = part_of[groups.of]
    assert (parts == TRAIN).any(), "the split left nothing to train on"
    return parts


def sample(ids: npt.NDArray[np.uint64], count: int, *, seed: int) -> npt.NDArray[np.bool_]:
    """Which rows are among `count` chosen by the hash of their ids."""
    ranks = np.array([rank(f"{name:016x}", seed) for name in ids.tolist()], np.uint64)
    chosen = np.zeros(len(ids), bool)
    chosen[np.argsort(ranks, kind="stable")[:count]] = True
    return chosen


def rank(name: str, seed: int) -> int:
    """64 bits that order names in a way that depends on the seed and the name alone."""
    return int.from_bytes(hashlib.sha256(f"{seed}\0{name}".encode()).digest()[:8], "big")


def _take(sizes: npt.NDArray[np.int64], count: int, *, spare: int) -> npt.NDArray[np.bool_]:
    """Groups in their order that fit in what is left to take, or the smallest; at least `spare` groups stay free."""
    taken = np.zeros(len(sizes), bool)
    num_taken, left = 0, count
    for place, size in enumerate(sizes.tolist()):
        if not left or num_taken == len(sizes) - spare:
            break
        if size <= left:
            taken[place] = True
            num_taken, left = num_taken + 1, left - size
    if not num_taken:
        taken[np.argmin(sizes)] = True
    return taken
