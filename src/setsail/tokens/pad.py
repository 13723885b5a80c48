"""Pairs of texts, one read and one written, as padded batches of similar length.

They are for models that cannot take packed rows: T5 learns how to weigh distances between tokens, which a row of
several documents would confuse. The invariants are those of packing: every example stands in exactly one batch, and the
order is a function of its seed alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import numpy.typing as npt

from setsail.tokens.pack import NOT_SUPERVISED


@dataclass(frozen=True, eq=False)
class PairBatch:
    """B pairs, each a row of its own, padded at its end.

    Shapes: input_ids, input_mask [B, S], the mask true where a token is; targets [B, T], NOT_SUPERVISED where padded.
    """

    input_ids: npt.NDArray[np.int64]
    input_mask: npt.NDArray[np.bool_]
    targets: npt.NDArray[np.int64]
    row_ids: tuple[str, ...] = ()

    @property
    def num_tokens(self) -> int:
        """The tokens that are read or written, without padding."""
        return int(self.input_mask.sum()) + self.num_supervised

    @property
    def num_supervised(self) -> int:
        """The tokens that are written; each gives a loss."""
        return int((self.targets != NOT_SUPERVISED).sum())


def pad_pairs(
    pairs: Sequence[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]], row_ids: Sequence[str]
) -> PairBatch:
    """Inputs and targets of several rows, one under the other."""
    assert pairs, "a batch needs a pair"
    inputs, targets = ([pair[side] for pair in pairs] for side in (0, 1))
    input_mask = _padded([np.ones(len(ids), dtype=np.bool_) for ids in inputs], False)
    return PairBatch(_padded(inputs, 0), input_mask, _padded(targets, NOT_SUPERVISED), tuple(row_ids))


def similar(sizes: Sequence[int], capacity: int, order_seed: int | str) -> list[list[int]]:
    """Bins of indices of similar `sizes`, each of at most `capacity` tokens with its padding, or of a single one.

    `order_seed` decides which of several equally large ones stand together.
    """
    order = list(range(len(sizes)))
    Random(f"similar:{order_seed}").shuffle(order)
    order.sort(key=lambda index: -sizes[index])
    bins: list[list[int]] = []
    for index in order:
        if bins and (len(bins[-1]) + 1) * sizes[bins[-1][0]] <= capacity:
            bins[-1].append(index)
        else:
            bins.append([index])
    return bins


def _padded(rows: Sequence[npt.NDArray], filler: int | bool) -> npt.NDArray:
    padded = np.full((len(rows), max(map(len, rows))), filler, dtype=rows[0].dtype)
    for row, ids in zip(padded, rows, strict=True):
        row[: len(ids)] = ids
    return padded
