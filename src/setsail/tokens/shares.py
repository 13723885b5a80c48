"""The micro-batches of a step, cut so that each of several processes has as much to do as the others.

The invariant: every example stays in the step, in exactly one micro-batch; for a number of processes that the
micro-batches can be dealt to evenly, one among them, nothing is cut or moved.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Bin = list[int]
Lengths = Sequence[int] | npt.NDArray[np.int32]  # of the examples, in tokens


def shared_bins(bins: Sequence[Bin], lengths: Lengths, num_shares: int) -> list[Bin]:
    """The bins of a step, cut until they are a multiple of `num_shares`, in an order to be dealt out one by one.

    `lengths[i]` is the length of example i in tokens. The longest bins are cut, between two examples; where each holds
    a single one, some shares stay smaller, or empty.
    """
    bins = list(bins)
    if len(bins) % num_shares == 0:
        return bins

    def size(bin: Bin) -> int:
        return sum(lengths[index] for index in bin)

    while len(bins) % num_shares and max(map(len, bins)) > 1:
        longest = max((bin for bin in bins if len(bin) > 1), key=size)
        bins.remove(longest)
        bins += _halves(longest, lengths)
    bins.sort(key=size, reverse=True)
    rounds = [bins[start : start + num_shares] for start in range(0, len(bins), num_shares)]
    # Who got the longest of one round gets the shortest of the next.
    return [bin for number, dealt in enumerate(rounds) for bin in (reversed(dealt) if number % 2 else dealt)]


def _halves(bin: Bin, lengths: Lengths) -> tuple[Bin, Bin]:
    """The bin cut in two where the parts are most alike."""
    total = sum(lengths[index] for index in bin)
    best, best_difference, before = 1, total, 0
    for place in range(1, len(bin)):
        before += lengths[bin[place - 1]]
        if abs(total - 2 * before) < best_difference:
            best, best_difference = place, abs(total - 2 * before)
    return bin[:best], bin[best:]
