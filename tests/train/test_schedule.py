"""Learning rates by step."""

from __future__ import annotations

import doctest
import math

import pytest

from setsail.base.recipe import Finetune
from setsail.train import schedule as schedule_module
from setsail.train.schedule import SHAPES, default_learning_rate, schedule


def test_the_docstring_is_true() -> None:
    assert doctest.testmod(schedule_module).failed == 0


@pytest.mark.parametrize("name", sorted(SHAPES))
@pytest.mark.parametrize(("num_steps", "warmup"), [(1, 0.0), (1, 0.9), (2, 0.5), (10, 0.0), (100, 0.05)])
def test_every_rate_is_positive_and_reaches_the_peak(name: str, num_steps: int, warmup: float) -> None:
    rate = schedule(name, peak=3e-4, num_steps=num_steps, warmup=warmup)
    rates = [rate(step) for step in range(1, num_steps + 1)]
    assert all(0 < value <= 3e-4 for value in rates)
    assert max(rates) == pytest.approx(3e-4)
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_cosine_is_at_half_its_peak_half_way() -> None:
    assert schedule("cosine", peak=1.0, num_steps=100, warmup=0.0)(51) == pytest.approx(0.5)


def test_wsd_stays_at_its_peak_until_the_last_fifth_and_comes_down_by_the_root() -> None:
    rate = schedule("wsd", peak=1.0, num_steps=120, warmup=1 / 6)
    rates = [rate(step) for step in range(1, 121)]
    assert rates[19:101] == [1.0] * 82
    assert rates[101:] == pytest.approx([1 - math.sqrt(part / 20) for part in range(1, 20)])


def test_every_schedule_and_method_of_a_recipe_is_known() -> None:
    for name in Finetune.model_fields["schedule"].annotation.__args__:
        assert name in SHAPES
    for method in ("new", *Finetune.model_fields["method"].annotation.__args__):
        for optimizer in Finetune.model_fields["optimizer"].annotation.__args__:
            assert default_learning_rate(method, optimizer) > 0
        assert default_learning_rate(method) == default_learning_rate(method, "adamw")
