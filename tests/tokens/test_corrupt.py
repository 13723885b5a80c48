from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from setsail.tokens.corrupt import cut_out, hide_spans, hide_tokens, mask_out, span_counts
from setsail.tokens.pack import NOT_SUPERVISED, Example

MASK, END = 9_999, 9_998
SENTINELS = list(range(20_000, 20_400))


def passage(num_tokens: int) -> Example:
    """Tokens that differ, between two that stand around a text and are never hidden."""
    ids = np.array([1, *range(100, 100 + num_tokens), 2], dtype=np.int32)
    mask = np.array([False, *[True] * num_tokens, False])
    return Example(ids, mask, "row")


LENGTHS, SHARES, MEANS = st.integers(1, 300), st.floats(0.01, 0.99), st.floats(1, 12)


@given(LENGTHS, SHARES, st.integers(0, 50))
@settings(max_examples=300, deadline=None)
def test_a_masked_text_can_be_rebuilt_and_its_marks_are_never_hidden(length: int, share: float, number: int) -> None:
    example = passage(length)
    hidden = hide_tokens(example, share, f"draw:{number}")
    ids, targets = mask_out(hidden, MASK)
    assert (np.where(ids == MASK, targets, ids) == example.ids).all()
    assert ((targets != NOT_SUPERVISED) == (ids == MASK)).all()
    assert ids[0] == 1 and ids[-1] == 2
    assert 1 <= hidden.loss_mask.sum() <= max(1, np.ceil(length * share))


@given(LENGTHS, SHARES, MEANS, st.integers(0, 50))
@settings(max_examples=300, deadline=None)
def test_a_text_with_spans_cut_out_can_be_rebuilt(length: int, share: float, mean: float, number: int) -> None:
    example = passage(length)
    inputs, targets = cut_out(hide_spans(example, share, mean, f"draw:{number}"), SENTINELS, END)
    assert rebuilt(inputs.tolist(), targets.tolist()) == example.ids.tolist()


@given(LENGTHS, SHARES, MEANS, st.integers(0, 50))
@settings(max_examples=300, deadline=None)
def test_spans_are_as_many_and_as_long_as_the_length_says(length: int, share: float, mean: float, number: int) -> None:
    hidden = hide_spans(passage(length), share, mean, f"draw:{number}")
    num_hidden, num_spans = span_counts(length, share, mean)
    inputs, targets = cut_out(hidden, SENTINELS, END)
    assert hidden.loss_mask.sum() == num_hidden and not hidden.loss_mask[[0, -1]].any()
    used = SENTINELS[:num_spans]
    assert [token for token in inputs.tolist() if token in SENTINELS] == used
    assert [token for token in targets.tolist() if token in SENTINELS] == used
    assert len(inputs) == length + 2 - num_hidden + num_spans and len(targets) == num_hidden + num_spans + 1
    assert targets[-1] == END


def rebuilt(inputs: list[int], targets: list[int]) -> list[int]:
    """Each sentinel that was read replaced by what was written behind it."""
    spans: dict[int, list[int]] = {}
    for token in targets[:-1]:
        if token in SENTINELS:
            spans[token] = latest = []
        else:
            latest.append(token)
    return [each for token in inputs for each in spans.get(token, [token])]


@pytest.mark.parametrize(("length", "share"), [(7, 0.3), (40, 0.15), (101, 0.3), (3, 0.5)])
def test_masks_hide_the_share_on_average_and_every_token_alike(length: int, share: float) -> None:
    draws = [hide_tokens(passage(length), share, f"{number}").loss_mask[1:-1] for number in range(4000)]
    rates = np.mean(draws, axis=0)
    assert np.mean(rates) == pytest.approx(share, abs=0.01)
    assert np.abs(rates - share).max() < 0.04  # five standard errors


def test_spans_hide_the_share_in_spans_of_the_mean_length_and_the_first_token_too() -> None:
    draws = np.array([hide_spans(passage(200), 0.15, 3.0, f"{number}").loss_mask[1:-1] for number in range(2000)])
    starts = draws[:, 1:] & ~draws[:, :-1]
    num_spans = starts.sum() + draws[:, 0].sum()
    assert draws.mean() == pytest.approx(0.15) and draws.sum() / num_spans == pytest.approx(3.0)
    rates = draws.mean(axis=0)
    assert 0.03 < rates[0] < 0.2 and 0.03 < rates[-1] < 0.2
    assert rates[10:-10].mean() == pytest.approx(0.15, abs=0.01)


def test_every_way_to_cut_a_text_is_equally_likely() -> None:
    """Five tokens, two hidden in two spans: six ways."""
    ways = Counter(tuple(hide_spans(passage(5), 0.4, 1.0, f"{number}").loss_mask[1:-1]) for number in range(6000))
    assert len(ways) == 6
    assert all(850 < count < 1150 for count in ways.values())


def test_a_draw_is_a_function_of_its_name() -> None:
    example = passage(60)
    for hide in (lambda draw: hide_tokens(example, 0.3, draw), lambda draw: hide_spans(example, 0.3, 3.0, draw)):
        same = [hide("1:0:5").loss_mask.tolist() for _ in range(2)]
        others = [hide(draw).loss_mask.tolist() for draw in ("1:1:5", "2:0:5", "1:0:6")]
        assert same[0] == same[1]
        assert all(other != same[0] for other in others)


def test_what_is_hidden_today_is_what_is_hidden_tomorrow() -> None:
    """A resumed run hides the same: these places must not change with a version of anything."""
    assert np.flatnonzero(hide_tokens(passage(20), 0.3, "1:0:0").loss_mask).tolist() == [2, 3, 5, 8, 13, 19]
    assert np.flatnonzero(hide_spans(passage(20), 0.3, 3.0, "1:0:0").loss_mask).tolist() == [3, 4, 13, 14, 15, 16]


def test_the_smallest_text_is_hidden_whole() -> None:
    assert span_counts(1, 0.15, 3.0) == (1, 1)
    inputs, targets = cut_out(hide_spans(passage(1), 0.15, 3.0, "a"), SENTINELS, END)
    assert inputs.tolist() == [1, SENTINELS[0], 2] and targets.tolist() == [SENTINELS[0], 100, END]
    assert hide_tokens(passage(1), 0.15, "a").loss_mask.tolist() == [False, True, False]
