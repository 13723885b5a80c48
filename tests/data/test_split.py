"""Splits: by group, by hash, by time, whole."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from setsail.base.errors import DataError
from setsail.data.split import TEST, TRAIN, VALIDATION, Groups, groups_of, rank, sample, split

PARTS = (TRAIN, VALIDATION, TEST)


def _groups(names: Sequence[str], *, seed: int = 1, ids: Sequence[int] | None = None) -> Groups:
    group = np.array([rank(name, 0) if name else 0 for name in names], np.uint64)
    identity = np.array(range(1, len(names) + 1) if ids is None else ids, np.uint64)
    ranks = np.array([rank(name or str(n), seed) for name, n in zip(names, identity.tolist(), strict=True)], np.uint64)
    return groups_of(identity, group, np.array([bool(name) for name in names]), ranks=ranks)


@given(st.lists(st.sampled_from("abcdefgh"), min_size=20, max_size=60), st.integers(0, 5))
def test_no_group_in_two_parts_and_no_row_lost(names: list[str], seed: int) -> None:
    groups = _groups(names, seed=seed)
    if len(set(names)) < 3:
        with pytest.raises(DataError, match="too few for 3 parts"):
            split(groups, validation=0.1, test=0.1)
        return
    parts = split(groups, validation=0.1, test=0.1)
    seen = [{name for name, part in zip(names, parts, strict=True) if part == wanted} for wanted in PARTS]
    assert all(seen) and len(seen[0] | seen[1] | seen[2]) == sum(map(len, seen))


def test_a_part_does_not_depend_on_the_order_of_the_file() -> None:
    names, ids = [f"g{n % 40}" for n in range(200)], list(range(1, 201))
    order = random.Random(1).sample(range(200), 200)
    ours = split(_groups(names, seed=3, ids=ids), validation=0.1, test=0.2)
    shuffled = _groups([names[place] for place in order], seed=3, ids=[ids[place] for place in order])
    theirs = split(shuffled, validation=0.1, test=0.2)
    assert [ours[place] for place in order] == theirs.tolist()
    assert (ours == TEST).sum() == 40 and (ours == VALIDATION).sum() == 20


def test_no_test_is_made_when_none_is_wanted() -> None:
    assert np.bincount(split(_groups([""] * 30), validation=0.1, test=0.0)).tolist() == [27, 3]


def test_a_huge_group_goes_to_train() -> None:
    parts = split(_groups(["huge"] * 50 + [f"g{n}" for n in range(20)]), validation=0.1, test=0.1)
    assert (parts[:50] == TRAIN).all()


def test_a_part_is_never_larger_than_was_asked_for_when_groups_fit() -> None:
    names = [f"small{n}" for n in range(60)] + [f"wide{n % 4}" for n in range(60)] + ["most"] * 80
    for seed in range(20):
        parts = split(_groups(names, seed=seed), validation=0.05, test=0.05)
        assert np.bincount(parts).tolist()[1:] == [10, 10]


def test_by_time_the_newest_are_the_test_and_a_group_is_as_old_as_its_newest_row() -> None:
    ids = np.arange(1, 101, dtype=np.uint64)
    grouped = ids <= 20
    group = np.where(grouped, 1_000 + ids % 2, 0).astype(np.uint64)
    groups = groups_of(ids, group, grouped, ranks=ids, time=ids.astype(np.float64))
    parts = split(groups, validation=0.1, test=0.2)
    assert (parts[80:] == TEST).all() and (parts[70:80] == VALIDATION).all() and (parts[:70] == TRAIN).all()


def test_a_sample_grows_by_adding() -> None:
    ids = np.array([rank(str(n), 0) for n in range(50)], np.uint64)
    small, large = sample(ids, 10, seed=1), sample(ids, 20, seed=1)
    assert (small.sum(), large.sum()) == (10, 20) and not (small & ~large).any()
