"""Steps that are made when asked for: the same as made ahead, every example once, dense, found without those before."""

from __future__ import annotations

import importlib
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from setsail.tokens.pack import Batch, Example, epoch_bins, make_batch
from setsail.tokens.steps import Packing, Steps, steps_of


def examples_of(lengths: list[int]) -> list[Example]:
    draw = np.random.default_rng(len(lengths))
    return [
        Example(np.full(length, number, np.int32), draw.random(length) < 0.5, f"row{number}")
        for number, length in enumerate(lengths)
    ]


def lazy_steps(
    examples: list[Example], capacity: int, per_step: int, epochs: float, seed: int, window: int = 1 << 16
) -> Steps[Batch]:
    lengths = np.array([len(example.ids) for example in examples], dtype=np.int32)
    supervised = np.array([example.num_supervised for example in examples])
    packing = Packing(lengths, supervised, capacity, per_step, epochs, seed, window)

    def make(bins: list[list[int]], epoch: int) -> list[Batch]:
        return [make_batch([examples[index] for index in members]) for members in bins]

    return steps_of(packing, make)


def steps_made_ahead(
    examples: list[Example], capacity: int, per_step: int, epochs: float, seed: int
) -> list[list[Batch]]:
    """The slow twin: every batch of the run in a list."""
    steps: list[list[Batch]] = []
    for epoch in range(math.ceil(epochs)):
        bins = epoch_bins(examples, capacity, seed, epoch)
        bins = bins[: max(1, round(len(bins) * min(1.0, epochs - epoch)))]
        batches = [make_batch([examples[index] for index in members]) for members in bins]
        steps += [batches[start : start + per_step] for start in range(0, len(batches), per_step)]
    return steps


def rows_of(steps) -> list[list[tuple[str, ...]]]:
    return [[batch.row_ids for batch in step] for step in steps]


LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=120)
EPOCHS = st.sampled_from([0.01, 0.4, 1.0, 1.5, 2.0, 2.9])


@given(LENGTHS, st.integers(40, 100), st.integers(1, 5), EPOCHS, st.integers(-5, 5))
@settings(max_examples=100, deadline=None)
def test_where_one_window_holds_everything_they_are_those_made_ahead(
    lengths: list[int], capacity: int, per_step: int, epochs: float, seed: int
) -> None:
    examples = examples_of(lengths)
    lazy = lazy_steps(examples, capacity, per_step, epochs, seed)
    ahead = steps_made_ahead(examples, capacity, per_step, epochs, seed)
    assert rows_of(lazy) == rows_of(ahead)
    assert len(lazy) == len(ahead)
    assert all(
        np.array_equal(a.targets, b.targets) and np.array_equal(a.input_ids, b.input_ids)
        for one, other in zip(lazy, ahead, strict=True)
        for a, b in zip(one, other, strict=True)
    )


@given(LENGTHS, st.integers(40, 100), st.integers(1, 5), EPOCHS, st.integers(-5, 5), st.integers(1, 50))
@settings(max_examples=150, deadline=None)
def test_every_example_stands_once_in_an_epoch_and_the_counts_are_what_comes(
    lengths: list[int], capacity: int, per_step: int, epochs: float, seed: int, window: int
) -> None:
    examples = examples_of(lengths)
    steps = lazy_steps(examples, capacity, per_step, epochs, seed, window)
    made = list(steps)
    batches = [batch for step in made for batch in step]
    seen = Counter(row for batch in batches for row in batch.row_ids)
    whole, part = math.floor(epochs), epochs % 1
    assert all(whole <= seen[example.row_id] <= math.ceil(epochs) for example in examples)
    if not part:
        assert set(seen.values()) == {whole}
    assert all(0 < batch.num_tokens <= capacity for batch in batches)
    assert all(0 < len(step) <= per_step for step in made)
    assert steps.num_micro_batches == len(batches)
    assert steps.num_tokens == sum(batch.num_tokens for batch in batches)
    assert steps.num_supervised == sum(batch.num_supervised for batch in batches)


@given(LENGTHS, st.integers(1, 4), EPOCHS, st.integers(1, 50), st.data())
@settings(max_examples=100, deadline=None)
def test_a_step_is_the_same_however_it_is_reached(
    lengths: list[int], per_step: int, epochs: float, window: int, data: st.DataObject
) -> None:
    examples = examples_of(lengths)
    whole = rows_of(lazy_steps(examples, 40, per_step, epochs, 3, window))
    fresh = lazy_steps(examples, 40, per_step, epochs, 3, window)
    number = data.draw(st.integers(0, len(whole) - 1))
    assert rows_of([fresh[number]]) == [whole[number]]
    assert rows_of([fresh[number - len(whole)]]) == [whole[number]]
    again = lazy_steps(examples, 40, per_step, epochs, 3, window)
    assert rows_of(again[number:]) == whole[number:]
    assert rows_of(again[number:][1:]) == whole[number:][1:]
    with pytest.raises(IndexError):
        fresh[len(whole)]


def test_a_step_is_made_when_it_is_asked_for_and_knows_its_epoch() -> None:
    asked: list[int] = []

    def make(bins: list[list[int]], epoch: int) -> list[list[int]]:
        asked.append(epoch)
        return bins

    lengths = np.full(100, 10, np.int32)
    steps = steps_of(Packing(lengths, lengths, 50, 4, 2.0, 1, 30), make)
    assert len(steps) == 10 and steps.num_tokens == 2000 and not asked
    made = list(steps)
    assert asked == [0] * 5 + [1] * 5
    for epoch in (made[:5], made[5:]):
        assert sorted(index for step in epoch for members in step for index in members) == list(range(100))
    assert steps[8] == made[8] == steps[8]


def test_another_epoch_or_seed_is_another_order_with_other_neighbours() -> None:
    examples = examples_of([5 + number % 30 for number in range(200)])
    orders = []
    for seed in (1, 2):
        steps = rows_of(lazy_steps(examples, 100, 1, 2.0, seed, 50))
        half = next(n for n in range(len(steps)) if sum(len(bin) for step in steps[:n] for bin in step) == 200)
        orders += [steps[:half], steps[half:]]
    assert len({str(order) for order in orders}) == 4
    assert len({frozenset(frozenset(bin) for step in order for bin in step) for order in orders}) == 4


def test_a_window_is_drawn_from_everywhere() -> None:
    """Rows that stand together in the source, of one book or one month, are not trained together."""
    steps = lazy_steps(examples_of([10] * 1000), 100, 1, 1.0, 1, 250)
    first = [int(row.removeprefix("row")) for step in rows_of(steps[:25]) for bin in step for row in bin]
    assert len(first) == 250
    assert all(30 < count < 100 for count in Counter(number // 250 for number in first).values())


def docstring_lengths() -> np.ndarray:
    """The lengths of NumPy's docstrings, four characters a token, what is longer than a context cut into windows."""
    found = {}
    for module in (
        "numpy",
        "numpy.linalg",
        "numpy.fft",
        "numpy.random",
        "numpy.ma",
        "numpy.polynomial",
        "numpy.testing",
    ):
        for name, value in vars(importlib.import_module(module)).items():
            found[name] = len(value.__doc__ or "") // 4 if callable(value) else 0
    lengths = [part for length in found.values() for part in [1024] * (length // 1024) + [length % 1024] if part]
    assert len(lengths) > 700
    return np.tile(lengths, 20)


SHAPES = {
    "lognormal": lambda draw: draw.lognormal(4.6, 0.8, 20_000).clip(10, 1024),
    "uniform": lambda draw: draw.integers(20, 257, 20_000),
    # A system prompt, and one to six exchanges of a short question and a longer answer.
    "chat": lambda draw: np.array(
        [
            25 + sum(draw.lognormal(3.2, 0.6) + draw.lognormal(4.2, 0.7) for _ in range(draw.integers(1, 7)))
            for _ in range(20_000)
        ]
    ).clip(25, 1024),
    "docstrings": lambda draw: docstring_lengths(),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_windows_are_packed_without_waste(shape: str) -> None:
    lengths = SHAPES[shape](np.random.default_rng(7)).astype(np.int32)
    packing = Packing(lengths, lengths, 1024, 4, 1.0, 1, window=4096)
    density = packing.num_tokens / (1024 * packing.num_micro_batches)
    assert packing.num_tokens == lengths.sum()
    assert density > 0.99, density
