"""The steps of a run over more examples than fit in memory: which examples stand where, from their lengths alone.

An epoch takes all examples in a shuffled order, cuts that order into windows, and packs each window best-fit by itself.
Where one window holds everything, the bins are those of `pack.epoch_bins`. Invariants: every example stands in exactly
one bin of an epoch; the bins are a function of (lengths, capacity, window, seed, epoch); a step is found without the
steps before it, and no batch is made before it is asked for. Memory: 16 bytes an example, and one window's bins.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import accumulate
from typing import Any, Generic, TypeVar, overload

import numpy as np
import numpy.typing as npt

from setsail.tokens.pack import Arrange, pack_lengths, shuffled

WINDOW = 1 << 16  # examples packed at once: what a window's last bins waste is below a thousandth of it

Batch = TypeVar("Batch")


@dataclass(frozen=True)
class _Epoch:
    """`first_step` of the whole run; `bins_before` each window, and behind the last; `num_bins` that are trained."""

    first_step: int
    bins_before: list[int]
    num_bins: int


@dataclass(frozen=True, eq=False)
class Packing:
    """Where each example stands in a run of `epochs` epochs, the last of which may be a part of one.

    Shapes: lengths, num_supervised [examples], in tokens. `capacity` is in tokens too, and a bin is a micro-batch;
    `arrange` makes the bins of a window.
    """

    lengths: npt.NDArray[np.int32]
    num_supervised: npt.NDArray[np.integer[Any]]
    capacity: int
    bins_per_step: int
    epochs: float
    seed: int
    window: int = WINDOW
    arrange: Arrange = pack_lengths

    def __len__(self) -> int:
        """How many steps there are."""
        last = self._epochs[-1]
        return last.first_step + math.ceil(last.num_bins / self.bins_per_step)

    @cached_property
    def num_micro_batches(self) -> int:
        """The bins of all steps."""
        return sum(epoch.num_bins for epoch in self._epochs)

    @cached_property
    def num_tokens(self) -> int:
        """The tokens of all steps, an example counted once for each epoch in which it is trained."""
        return self._total(self.lengths)

    @cached_property
    def num_supervised_tokens(self) -> int:
        """The tokens of all steps that give a loss."""
        return self._total(self.num_supervised)

    def at(self, step: int) -> tuple[int, list[list[int]]]:
        """The epoch of a step, and its bins of example indices."""
        number = bisect_right(self._epochs, step, key=lambda epoch: epoch.first_step) - 1
        epoch = self._epochs[number]
        start = (step - epoch.first_step) * self.bins_per_step
        stop = min(start + self.bins_per_step, epoch.num_bins)
        return number, [self._bin(number, index) for index in range(start, stop)]

    def _bin(self, number: int, index: int) -> list[int]:
        before = self._epochs[number].bins_before
        window = bisect_right(before, index) - 1
        members = self._examples_of(number, window)
        return members[self._packed(number, window)[index - before[window]]].tolist()

    @cached_property
    def _epochs(self) -> list[_Epoch]:
        epochs: list[_Epoch] = []
        first_step = 0
        for number in range(math.ceil(self.epochs)):
            counts = (len(self._pack(number, window)) for window in range(self._num_windows))
            bins_before = [0, *accumulate(counts)]
            share = min(1.0, self.epochs - number)
            num_bins = min(bins_before[-1], max(1, round(bins_before[-1] * share)))
            epochs.append(_Epoch(first_step, bins_before, num_bins))
            first_step += math.ceil(num_bins / self.bins_per_step)
        return epochs

    def _total(self, counts: npt.NDArray[np.integer[Any]]) -> int:
        """The sum of what each example counts over all epochs."""
        whole = int(counts.sum(dtype=np.int64))
        total = 0
        for number, epoch in enumerate(self._epochs):
            if epoch.num_bins == epoch.bins_before[-1]:
                total += whole
                continue
            last = bisect_right(epoch.bins_before, epoch.num_bins) - 1
            for window in range(last):
                total += int(counts[self._examples_of(number, window)].sum(dtype=np.int64))
            for index in range(epoch.bins_before[last], epoch.num_bins):
                total += int(counts[self._bin(number, index)].sum(dtype=np.int64))
        return total

    @property
    def _num_windows(self) -> int:
        return max(1, math.ceil(len(self.lengths) / self.window))

    def _examples_of(self, number: int, window: int) -> npt.NDArray[np.int64]:
        size = len(self.lengths)
        start, stop = (size * edge // self._num_windows for edge in (window, window + 1))
        return self._order(number)[start:stop]

    def _pack(self, number: int, window: int) -> list[list[int]]:
        """The bins of one window, as places in the window."""
        lengths = self.lengths[self._examples_of(number, window)].tolist()
        order_seed = f"{self.seed}:{number}" + (f":{window}" if window else "")
        return shuffled(self.arrange(lengths, self.capacity, order_seed), order_seed)

    @cached_property
    def _packed(self) -> Callable[[int, int], list[list[int]]]:
        return lru_cache(maxsize=2)(self._pack)  # a step may stand on both sides of a window's edge

    @cached_property
    def _order(self) -> Callable[[int], npt.NDArray[np.int64]]:
        return lru_cache(maxsize=1)(self._shuffled_order)

    def _shuffled_order(self, number: int) -> npt.NDArray[np.int64]:
        if self._num_windows == 1:
            return np.arange(len(self.lengths))  # the packer shuffles what it is given
        # The raw stream of a bit generator never changes between versions of numpy; its shuffles may.
        draws = np.random.PCG64(_seed_of("order", self.seed, number)).random_raw(len(self.lengths))
        return np.argsort(draws, kind="stable")


@dataclass(frozen=True, eq=False)
class Steps(Sequence[list[Batch]], Generic[Batch]):
    """Steps that are made when they are asked for; `steps[start:]` is the same without the first ones.

    `make(bins, epoch)` turns the bins of a step, of example indices, into its micro-batches.
    """

    packing: Packing
    make: Callable[[list[list[int]], int], list[Batch]]
    numbers: range

    @property
    def num_tokens(self) -> int:
        """Of the whole run, as the two below."""
        return self.packing.num_tokens

    @property
    def num_supervised(self) -> int:
        return self.packing.num_supervised_tokens

    @property
    def num_micro_batches(self) -> int:
        return self.packing.num_micro_batches

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> list[Batch]: ...
    @overload
    def __getitem__(self, index: slice) -> Steps[Batch]: ...
    def __getitem__(self, index: int | slice) -> list[Batch] | Steps[Batch]:
        if isinstance(index, slice):
            return replace(self, numbers=self.numbers[index])
        epoch, bins = self.packing.at(self.numbers[index])
        return self.make(bins, epoch)


def steps_of(packing: Packing, make: Callable[[list[list[int]], int], list[Batch]]) -> Steps[Batch]:
    """All steps of a run."""
    return Steps(packing, make, range(len(packing)))


def _seed_of(*what: object) -> int:
    """63 bits that belong to this and to nothing else."""
    digest = hashlib.sha256("/".join(map(str, what)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
