from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from setsail.tokens.pack import NOT_SUPERVISED, Example, epoch_bins
from setsail.tokens.pad import pad_pairs, similar


def size(example: Example) -> int:
    return len(example.ids)


def arrange(examples: list[Example], capacity: int, order_seed: int | str) -> list[list[int]]:
    return similar(examples, capacity, order_seed, size=size)


EXAMPLES = st.lists(st.integers(1, 60), max_size=80).map(
    lambda lengths: [Example(np.arange(n, dtype=np.int32), np.ones(n, dtype=np.bool_), f"row{n}") for n in lengths]
)


@given(EXAMPLES, st.integers(20, 200), st.integers(0, 5), st.integers(0, 3))
@settings(max_examples=150, deadline=None)
def test_every_example_stands_in_one_batch_that_fits(
    examples: list[Example], capacity: int, seed: int, epoch: int
) -> None:
    bins = epoch_bins(examples, capacity, seed, epoch, arrange=arrange)
    assert sorted(index for members in bins for index in members) == list(range(len(examples)))
    for members in bins:
        padded = len(members) * max(size(examples[index]) for index in members)
        assert padded <= capacity or len(members) == 1
    assert bins == epoch_bins(examples, capacity, seed, epoch, arrange=arrange)


def test_little_is_padded_and_another_epoch_has_other_neighbours() -> None:
    draw = np.random.default_rng(7)
    lengths = draw.integers(20, 257, 2000)
    examples = [Example(np.zeros(n, dtype=np.int32), np.ones(n, dtype=np.bool_), "") for n in lengths]
    bins = arrange(examples, 2048, "1:0")
    places = sum(len(members) * max(lengths[index] for index in members) for members in bins)
    assert lengths.sum() / places > 0.98
    assert {frozenset(members) for members in bins} != {
        frozenset(members) for members in arrange(examples, 2048, "1:1")
    }


def test_pairs_are_padded_at_their_ends() -> None:
    pairs = [(np.array([5, 6, 7]), np.array([8])), (np.array([9]), np.array([3, 4]))]
    batch = pad_pairs(pairs, ["a", "b"])
    assert batch.input_ids.tolist() == [[5, 6, 7], [9, 0, 0]]
    assert batch.input_mask.tolist() == [[True, True, True], [True, False, False]]
    assert batch.targets.tolist() == [[8, NOT_SUPERVISED], [3, 4]]
    assert (batch.num_tokens, batch.num_supervised, batch.row_ids) == (7, 3, ("a", "b"))
