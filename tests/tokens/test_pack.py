from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from setsail.base.errors import DataError
from setsail.tokens.pack import NOT_SUPERVISED, Example, epoch_bins, make_batch, pack


def example_of(length: int, number: int = 0, mask: list[bool] | None = None) -> Example:
    """Ids that say which document they belong to."""
    ids = np.arange(length, dtype=np.int32) + 1000 * number
    return Example(ids, np.array(mask if mask is not None else [True] * length, dtype=np.bool_), f"row{number}")


EXAMPLES = st.lists(st.lists(st.booleans(), min_size=1, max_size=40), max_size=60).map(
    lambda masks: [example_of(len(mask), number, mask) for number, mask in enumerate(masks)]
)


@given(EXAMPLES, st.integers(40, 100), st.integers(-5, 5), st.integers(0, 3))
@settings(max_examples=150, deadline=None)
def test_every_example_stands_in_one_bin_and_fits(
    examples: list[Example], capacity: int, seed: int, epoch: int
) -> None:
    bins = epoch_bins(examples, capacity, seed, epoch)
    assert sorted(index for members in bins for index in members) == list(range(len(examples)))
    assert all(0 < sum(len(examples[index].ids) for index in members) <= capacity for members in bins)
    assert bins == epoch_bins(examples, capacity, seed, epoch)


@given(EXAMPLES.filter(len))
@settings(max_examples=150, deadline=None)
def test_documents_are_whole_and_apart(examples: list[Example]) -> None:
    batch = make_batch(examples)
    assert batch.input_ids.tolist() == [index for example in examples for index in example.ids.tolist()]
    starts = batch.document_starts.tolist()
    assert starts[0] == 0 and starts[-1] == batch.num_tokens == len(batch.input_ids)
    assert batch.num_supervised == sum(example.num_supervised for example in examples)
    for number, example in enumerate(examples):
        part = slice(starts[number], starts[number + 1])
        assert batch.positions[part].tolist() == list(range(len(example.ids)))
        targets = batch.targets[part].tolist()
        assert targets[-1] == NOT_SUPERVISED
        followers = [index if on else NOT_SUPERVISED for index, on in zip(example.ids, example.loss_mask, strict=True)]
        assert targets[:-1] == followers[1:]


def test_the_kinds_of_numbers_are_those_that_the_model_takes() -> None:
    batch = make_batch([example_of(3), example_of(2, 1)])
    assert batch.input_ids.dtype == batch.positions.dtype == batch.targets.dtype == np.int64
    assert batch.document_starts.dtype == np.int32
    assert batch.targets.tolist() == [1, 2, -100, 1001, -100]


def test_another_epoch_or_seed_is_another_order_of_the_same() -> None:
    examples = [example_of(5 + number % 30, number) for number in range(200)]
    orders = {
        (seed, epoch): [tuple(members) for members in epoch_bins(examples, 100, seed, epoch)]
        for seed in (1, 2)
        for epoch in (0, 1)
    }
    assert len({tuple(order) for order in orders.values()}) == 4
    assert len({frozenset(map(frozenset, order)) for order in orders.values()}) == 4  # other neighbours too


@pytest.mark.parametrize("shape", ["uniform", "lognormal"])
def test_realistic_lengths_are_packed_without_waste(shape: str) -> None:
    random = np.random.default_rng(7)
    drawn = random.integers(20, 257, 4000) if shape == "uniform" else random.lognormal(4.6, 0.8, 4000).clip(10, 1024)
    lengths = drawn.astype(int)
    bins = pack([example_of(length) for length in lengths], 4096, 1)
    assert lengths.sum() / (4096 * len(bins)) > 0.99


def test_exact_fits_are_found() -> None:
    examples = [example_of(length) for length in (6, 4, 7, 3, 5, 5, 10)]
    sizes = Counter(sum(len(examples[index].ids) for index in members) for members in pack(examples, 10, 0))
    assert sizes == {10: 4}


def test_an_example_longer_than_a_bin_is_named() -> None:
    with pytest.raises(DataError, match="row3 has 11 tokens"):
        pack([example_of(11, 3), example_of(2)], 10, 0)


def test_an_example_without_tokens_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError):
        example_of(0)
    with pytest.raises(AssertionError):
        make_batch([])


def test_the_first_token_of_a_document_is_never_a_target() -> None:
    assert example_of(3, mask=[True, False, False]).num_supervised == 0
