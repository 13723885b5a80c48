from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from setsail.tokens.pack import NOT_SUPERVISED
from setsail.tokens.pad import pad_pairs, similar


@given(st.lists(st.integers(1, 60), max_size=80), st.integers(20, 200), st.integers(0, 5))
@settings(max_examples=150, deadline=None)
def test_every_example_stands_in_one_batch_that_fits(sizes: list[int], capacity: int, seed: int) -> None:
    bins = similar(sizes, capacity, seed)
    assert sorted(index for members in bins for index in members) == list(range(len(sizes)))
    for members in bins:
        padded = len(members) * max(sizes[index] for index in members)
        assert padded <= capacity or len(members) == 1
    assert bins == similar(sizes, capacity, seed)


def test_little_is_padded_and_another_epoch_has_other_neighbours() -> None:
    draw = np.random.default_rng(7)
    sizes = draw.integers(20, 257, 2000).tolist()
    bins = similar(sizes, 2048, "1:0")
    places = sum(len(members) * max(sizes[index] for index in members) for members in bins)
    assert sum(sizes) / places > 0.98
    assert {frozenset(members) for members in bins} != {frozenset(members) for members in similar(sizes, 2048, "1:1")}


def test_pairs_are_padded_at_their_ends() -> None:
    pairs = [(np.array([5, 6, 7]), np.array([8])), (np.array([9]), np.array([3, 4]))]
    batch = pad_pairs(pairs, ["a", "b"])
    assert batch.input_ids.tolist() == [[5, 6, 7], [9, 0, 0]]
    assert batch.input_mask.tolist() == [[True, True, True], [True, False, False]]
    assert batch.targets.tolist() == [[8, NOT_SUPERVISED], [3, 4]]
    assert (batch.num_tokens, batch.num_supervised, batch.row_ids) == (7, 3, ("a", "b"))
