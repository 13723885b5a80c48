"""Putting examples side by side into batches without padding, and the order of an epoch.

Invariants: every token of every example stands in exactly one bin, documents are whole and apart (their positions start
at zero, no target points into another document), and the order is a function of (seed, epoch) alone.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import numpy.typing as npt

from setsail.base.errors import DataError

NOT_SUPERVISED = -100


@dataclass(frozen=True, eq=False)
class Example:
    """One document ready to learn from. `change` is "" or how it differs from its row: "cut" or "split".

    `label` says what the document is, where documents are told apart; "" elsewhere.
    """

    ids: npt.NDArray[np.int32]
    loss_mask: npt.NDArray[np.bool_]
    row_id: str
    change: str = ""
    label: str = ""

    def __post_init__(self) -> None:
        assert self.ids.ndim == 1 and self.ids.shape == self.loss_mask.shape and len(self.ids) > 0, self.row_id

    @property
    def num_supervised(self) -> int:
        """How many tokens give a loss: the first token of a document has nothing before it that could predict it."""
        return int(self.loss_mask[1:].sum())


@dataclass(frozen=True, eq=False)
class Batch:
    """Documents in one row of T tokens. `targets[t]` is the token after t, or -100 where nothing is learned.

    In a row that was masked, `targets[t]` is the token that stood at t.

    Shapes: input_ids, positions, targets [T]; document_starts [D+1], the first 0 and the last T.
    """

    input_ids: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    document_starts: npt.NDArray[np.int32]
    targets: npt.NDArray[np.int64]
    row_ids: tuple[str, ...] = ()

    @property
    def num_tokens(self) -> int:
        """T, all of them real: there is no padding."""
        return len(self.input_ids)

    @property
    def num_supervised(self) -> int:
        """How many targets give a loss."""
        return int((self.targets != NOT_SUPERVISED).sum())


def pack(examples: Sequence[Example], capacity: int, order_seed: int | str) -> list[list[int]]:
    """Bins of example indices, each of at most `capacity` tokens, as `pack_lengths` makes them.

    Raises: DataError where an example is longer than a bin.
    """
    longest = max(examples, key=lambda example: len(example.ids), default=None)
    if longest is not None and len(longest.ids) > capacity:
        raise DataError(
            f"row {longest.row_id} has {len(longest.ids)} tokens, more than the {capacity} of a batch",
            hint="raise finetune.batch_tokens, or lower finetune.context",
        )
    return pack_lengths([len(example.ids) for example in examples], capacity, order_seed)


def pack_lengths(lengths: Sequence[int], capacity: int, order_seed: int | str) -> list[list[int]]:
    """Bins of indices, none above `capacity`: best fit, longest first, O(n log n).

    `order_seed` decides which of several equally long ones is placed first.
    """
    order = list(range(len(lengths)))
    Random(f"pack:{order_seed}").shuffle(order)
    order.sort(key=lambda index: -lengths[index])
    assert not order or lengths[order[0]] <= capacity, "a length above the capacity fits no bin"
    bins: list[list[int]] = []
    rooms: list[int] = []  # the distinct free sizes, ascending: at most `capacity` of them
    bins_by_room: dict[int, list[int]] = {}
    for index in order:
        length = lengths[index]
        at = bisect_left(rooms, length)
        if at == len(rooms):
            bins.append([])
            chosen, room = len(bins) - 1, capacity
        else:
            room = rooms[at]
            chosen = bins_by_room[room].pop()
            if not bins_by_room[room]:
                del bins_by_room[room], rooms[at]
        bins[chosen].append(index)
        left = room - length
        if left and left not in bins_by_room:
            insort(rooms, left)
        if left:
            bins_by_room.setdefault(left, []).append(chosen)
    return bins


Arrange = Callable[[Sequence[int], int, int | str], list[list[int]]]  # as `pack_lengths`


def epoch_bins(examples: Sequence[Example], capacity: int, seed: int, epoch: int) -> list[list[int]]:
    """The bins of one epoch in the order in which they are trained, a function of (seed, epoch)."""
    return shuffled(pack(examples, capacity, f"{seed}:{epoch}"), f"{seed}:{epoch}")


def shuffled(bins: list[list[int]], order_seed: str) -> list[list[int]]:
    """The bins, which come longest first from the packer, in the order in which they are trained."""
    Random(f"bins:{order_seed}").shuffle(bins)
    return bins


def make_batch(examples: Sequence[Example]) -> Batch:
    """The examples side by side, with targets already shifted."""
    pairs = [(example.ids.astype(np.int64), _targets(example)) for example in examples]
    return side_by_side(pairs, [example.row_id for example in examples])


def side_by_side(
    documents: Sequence[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]], row_ids: Sequence[str]
) -> Batch:
    """Documents, each its ids and its targets of the same length, as one packed row."""
    assert documents, "a batch needs a document"
    ids, targets = ([document[side] for document in documents] for side in (0, 1))
    lengths = [len(document) for document in ids]
    return Batch(
        input_ids=np.concatenate(ids),
        positions=np.concatenate([np.arange(length, dtype=np.int64) for length in lengths]),
        document_starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32),
        targets=np.concatenate(targets),
        row_ids=tuple(row_ids),
    )


def _targets(example: Example) -> npt.NDArray[np.int64]:
    """The next token where it is supervised; nothing follows the last token of a document."""
    targets = np.full(len(example.ids), NOT_SUPERVISED, dtype=np.int64)
    supervised = example.loss_mask[1:]
    targets[:-1][supervised] = example.ids[1:][supervised]
    return targets
