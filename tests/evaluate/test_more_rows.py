"""The forecast of what more rows bring: right where the law holds, honest about the test, never a promise of harm."""

from __future__ import annotations

import numpy as np
import pytest

from setsail.evaluate.more_rows import more_rows, sentence

SIZES = (100, 200, 400, 800)


def answers(errors: list[float], num_rows: int, seed: int) -> np.ndarray:
    """[P, N]: the harder a row, the more rows are needed to get it right."""
    hard = np.random.default_rng(seed).random(num_rows)
    return np.stack([hard >= error for error in errors]).astype(np.float64)


def test_the_interval_holds_what_twice_the_rows_would_come_to_about_as_often_as_it_says() -> None:
    errors = [0.4 * (size / 100) ** -0.5 for size in SIZES]
    truth = 1 - 0.4 * 16**-0.5
    found = [more_rows(SIZES, answers(errors, 400, seed), [""] * 400, resamples=200, seed=seed) for seed in range(100)]
    assert 85 <= sum(each.doubled.low <= truth <= each.doubled.high for each in found) <= 100
    assert np.mean([each.doubled.value for each in found]) == pytest.approx(truth, abs=0.01)
    assert found[0].points[-1].accuracy.value == answers(errors, 400, 0)[-1].mean()


def test_what_gets_worse_is_forecast_to_stay_and_what_is_right_stays_right() -> None:
    worse = more_rows(SIZES, answers([0.1, 0.2, 0.3, 0.4], 300, 1), [""] * 300, resamples=100, seed=1)
    errors = [1 - point.accuracy.value for point in worse.points]
    assert worse.doubled.value == pytest.approx(1 - np.exp(np.mean(np.log(errors))))
    perfect = more_rows((10, 20), np.ones((2, 50)), [""] * 50, resamples=50, seed=1)
    assert perfect.doubled.value == pytest.approx(0.99) and perfect.doubled.high <= 1.0


def test_it_is_said_in_both_languages() -> None:
    right = np.stack([np.arange(48) % 2, np.arange(48) % 4 > 0]).astype(np.float64)
    found = more_rows((10, 20), right, [""] * 48, resamples=50, seed=1)
    assert "75.0 % accuracy from 20 rows" in sentence(found) and "87.5 %" in sentence(found)
    assert "20 行" in sentence(found, "zh") and "准确率 75.0 %" in sentence(found, "zh")
