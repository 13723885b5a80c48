"""Splits: by group, by hash, whole."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from setsail.base.errors import DataError
from setsail.data.row import Row
from setsail.data.split import sample, split


def _rows(groups: list[str]) -> list[Row]:
    return [Row(f"{n:016x}", (), f"text {n}", group, f"f:{n}") for n, group in enumerate(groups)]


@given(st.lists(st.sampled_from("abcdefgh"), min_size=20, max_size=60), st.integers(0, 5))
def test_no_group_in_two_parts_and_no_row_lost(groups: list[str], seed: int) -> None:
    rows = _rows(groups)
    if len(set(groups)) < 3:
        with pytest.raises(DataError, match="too few for 3 parts"):
            split(rows, validation=0.1, test=0.1, seed=seed)
        return
    parts = split(rows, validation=0.1, test=0.1, seed=seed)
    seen = [{row.group for row in part} for part in (parts.train, parts.validation, parts.test)]
    assert all(seen) and len(seen[0] | seen[1] | seen[2]) == sum(map(len, seen))
    assert sorted(r.id for part in (parts.train, parts.validation, parts.test) for r in part) == [r.id for r in rows]


def test_a_part_does_not_depend_on_the_order_of_the_file() -> None:
    rows = _rows([f"g{n % 40}" for n in range(200)])
    shuffled = random.Random(1).sample(rows, len(rows))
    ours, theirs = (split(r, validation=0.1, test=0.2, seed=3) for r in (rows, shuffled))
    assert {r.id for r in ours.test} == {r.id for r in theirs.test}
    assert len(ours.test) == 40 and len(ours.validation) == 20


def test_no_test_is_made_when_none_is_wanted() -> None:
    parts = split(_rows([""] * 30), validation=0.1, test=0.0, seed=1)
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (27, 3, 0)


def test_a_huge_group_goes_to_train() -> None:
    parts = split(_rows(["huge"] * 50 + [f"g{n}" for n in range(20)]), validation=0.1, test=0.1, seed=1)
    assert sum(row.group == "huge" for row in parts.train) == 50


def test_a_part_is_never_larger_than_was_asked_for_when_groups_fit() -> None:
    groups = [f"small{n}" for n in range(60)] + [f"wide{n % 4}" for n in range(60)] + ["most"] * 80
    for seed in range(20):
        parts = split(_rows(groups), validation=0.05, test=0.05, seed=seed)
        assert (len(parts.validation), len(parts.test)) == (10, 10)


def test_a_sample_keeps_the_order_and_grows_by_adding() -> None:
    rows = _rows([""] * 50)
    small, rest = sample(rows, 10, seed=1)
    large, _ = sample(rows, 20, seed=1)
    assert small == [row for row in rows if row in small] and len(rest) == 40
    assert {row.id for row in small} < {row.id for row in large}
