from __future__ import annotations

import numpy as np
import pytest

from setsail.evaluate.interval import MIN_UNITS, Decision, Interval, bootstrap, decide, difference
from setsail.evaluate.metrics import Direction


def covered(*, per_group: int, by_group: bool) -> float:
    """How often the interval holds the true mean 0, over 300 samples of 60 groups whose rows are alike."""
    rng = np.random.default_rng(7)
    hits = 0
    for sample in range(300):
        values = np.repeat(rng.normal(size=60), per_group) + 0.1 * rng.normal(size=60 * per_group)
        groups = [f"g{index // per_group}" for index in range(values.size)] if by_group else None
        found = bootstrap(list(values), groups=groups, resamples=400, seed=sample)
        hits += found.low <= 0 <= found.high
    return hits / 300


def test_the_interval_holds_the_truth_nineteen_times_in_twenty() -> None:
    assert 0.90 <= covered(per_group=1, by_group=False) <= 0.98


def test_rows_of_a_group_are_drawn_together() -> None:
    assert 0.90 <= covered(per_group=5, by_group=True) <= 0.98
    assert covered(per_group=5, by_group=False) < 0.75, "the test would not notice if groups were ignored"


def test_the_interval_is_close_to_the_normal_one() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, size=400)
    found = bootstrap(list(values), resamples=4000)
    reach = 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((values.mean() - reach, values.mean() + reach), abs=0.03)


def test_a_ratio_is_the_ratio_of_sums_not_the_mean_of_ratios() -> None:
    found = bootstrap([10.0, 1.0], weights=[100.0, 1.0])
    assert found.value == pytest.approx(11 / 101)
    assert 0.1 <= found.low <= found.value <= found.high <= 1.0


def test_the_seed_alone_decides_and_slices_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [float(index * index % 17) for index in range(50)]
    whole = bootstrap(values, seed=3)
    assert bootstrap(values, seed=3) == whole != bootstrap(values, seed=4)
    monkeypatch.setattr("setsail.evaluate.interval._DRAWS_AT_ONCE", 1000)
    assert bootstrap(values, seed=3) == whole


def test_pairing_shows_a_small_steady_difference() -> None:
    hard = np.random.default_rng(2).normal(50, 20, size=80)
    gap = difference(list(hard + 1.0), list(hard))
    assert gap.value == pytest.approx(1.0)
    assert gap.high - gap.low < 1e-9
    assert bootstrap(list(hard + 1.0)).low < bootstrap(list(hard)).high, "unpaired intervals overlap"


def test_rows_without_a_group_stand_for_themselves() -> None:
    assert bootstrap([1.0, 2.0, 3.0], groups=["", "", ""]).num_units == 3
    assert bootstrap([1.0, 2.0, 3.0], groups=["a", "a", ""]).num_units == 2


@pytest.mark.parametrize(
    ("low", "high", "direction", "expected"),
    [
        (0.1, 2.0, "higher", "better"),
        (-2.0, -0.1, "higher", "worse"),
        (-0.1, 2.0, "higher", "not_shown"),
        (0.0, 2.0, "higher", "not_shown"),
        (-2.0, -0.1, "lower", "better"),
        (0.1, 2.0, "lower", "worse"),
        (-0.1, 0.1, "lower", "not_shown"),
        (0.1, 2.0, "neither", "not_shown"),
    ],
)
def test_decisions(low: float, high: float, direction: Direction, expected: Decision) -> None:
    gap = Interval((low + high) / 2, low, high, num_units=40)
    assert decide(gap, direction) == expected
    assert decide(Interval(gap.value, low, high, MIN_UNITS - 1), direction) == "not_shown"


def test_no_rows_or_unpaired_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        bootstrap([])
    with pytest.raises(ValueError, match="2 groups for 1 rows"):
        bootstrap([1.0], groups=["a", "b"])
    with pytest.raises(ValueError, match="shorter"):
        difference([1.0, 2.0], [1.0])
