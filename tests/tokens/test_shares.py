"""A step's micro-batches are cut so that each process has its share, and nothing is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from setsail.tokens.shares import shared_bins

LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=40)


@given(lengths=LENGTHS, num_bins=st.integers(1, 9), num_shares=st.integers(1, 9))
def test_every_example_stays_in_the_step_once(lengths: list[int], num_bins: int, num_shares: int) -> None:
    bins = [list(range(start, len(lengths), num_bins)) for start in range(min(num_bins, len(lengths)))]
    shared = shared_bins(bins, lengths, num_shares)
    assert sorted(index for bin in shared for index in bin) == list(range(len(lengths)))
    assert all(shared)
    if len(bins) % num_shares == 0:
        assert shared == bins
    # What is not a multiple could not be cut any further.
    assert len(shared) % num_shares == 0 or len(shared) == len(lengths)


def test_one_micro_batch_becomes_one_for_each_process() -> None:
    assert shared_bins([[0, 1, 2, 3]], [10, 10, 10, 10], 2) == [[0, 1], [2, 3]]
    assert shared_bins([[0, 1, 2]], [30, 10, 10], 2) == [[0], [1, 2]]
    assert shared_bins([[0]], [30], 2) == [[0]]


def test_nobody_has_more_to_do_than_without_the_cuts() -> None:
    lengths = [16] * 64
    bins = [list(range(start, start + 16)) for start in range(0, 64, 16)]  # four of 256 tokens

    def most(bins: list[list[int]], num_shares: int) -> int:
        return max(16 * sum(len(bin) for bin in bins[share::num_shares]) for share in range(num_shares))

    tokens = {
        num_shares: most(shared_bins(bins, lengths, num_shares), num_shares) for num_shares in (2, 3, 5, 6, 8, 16)
    }
    assert tokens == {2: 512, 3: 384, 5: 256, 6: 256, 8: 128, 16: 64}
    assert all(tokens[num_shares] <= most(bins, num_shares) for num_shares in tokens)
