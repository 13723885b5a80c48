"""The watch sees a blow-up and nothing else: synthetic losses of runs that recover and of runs that do not."""

from __future__ import annotations

import doctest
import json
from collections.abc import Iterable

import numpy as np
import pytest

from setsail.train import divergence
from setsail.train.divergence import LossWatch
from setsail.train.journal import record_of
from setsail.train.loop import Step

STEPS = np.arange(600)


def healthy(seed: int, *, start: float = 10.8, floor: float = 2.0, noise: float = 0.3) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return floor + (start - floor) * np.exp(-STEPS / 60) + noise * draw.standard_normal(len(STEPS))


def spike(at: int, height: float, num_steps: float) -> np.ndarray:
    """A jump that is gone again like a learning rate's: to a third after `num_steps`."""
    return np.where(at <= STEPS, height * np.exp(-np.maximum(STEPS - at, 0) / num_steps), 0.0)


def fed(losses: Iterable[float], watch: LossWatch | None = None) -> LossWatch:
    """The watch after all losses, or after the one at which it says that training diverges."""
    watch = watch or LossWatch()
    for loss in losses:
        watch = watch.after(float(loss))
        if watch.diverged:
            break
    return watch


def test_the_docstring_is_true() -> None:
    assert doctest.testmod(divergence).failed == 0


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("start", [10.8, 2.0])
@pytest.mark.parametrize("noise", [0.02, 0.3, 1.0])
def test_noise_is_no_divergence(noise: float, start: float, seed: int) -> None:
    assert not fed(healthy(seed, start=start, noise=noise)).diverged


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("share", "height"), [(0.02, 10.0), (0.1, 8.0), (0.4, 5.0)])
def test_hard_batches_are_no_divergence(share: float, height: float, seed: int) -> None:
    hard = np.random.default_rng(seed + 100).random(len(STEPS)) < share
    assert not fed(healthy(seed) + height * hard).diverged
    assert not fed(healthy(seed, start=2.0) + height * hard).diverged


def test_a_lucky_first_batch_is_no_yardstick() -> None:
    assert not fed([1.0, *healthy(7, start=4.0, floor=4.0, noise=1.0)]).diverged


def test_a_small_rise_that_lasts_is_no_divergence() -> None:
    assert not fed(healthy(8, start=3.0, noise=0.02) + 0.9 * (STEPS > 200)).diverged


def test_a_rise_in_the_warm_up_is_no_divergence() -> None:
    assert not fed(healthy(1, start=2.5) + spike(3, 2.0, 15)).diverged


@pytest.mark.parametrize("at", [10, 100, 400])
@pytest.mark.parametrize(("height", "num_steps"), [(10.0, 5), (6.0, 15), (4.0, 20), (2.0, 60)])
def test_a_spike_that_recovers_is_no_divergence(height: float, num_steps: float, at: int) -> None:
    assert not fed(healthy(2) + spike(at, height, num_steps)).diverged


@pytest.mark.parametrize("at", [10, 100, 400])
@pytest.mark.parametrize(("height", "within"), [(100.0, 5), (30.0, 10), (8.0, 25), (5.0, 50), (3.0, 150)])
def test_a_blow_up_is_seen(height: float, within: int, at: int) -> None:
    losses = healthy(3, start=3.0)
    losses[at:] = losses[at - 1] + height + 0.7 * np.random.default_rng(4).standard_normal(len(STEPS) - at)
    watch = fed(losses)
    assert watch.diverged and at < watch.num_losses <= at + within
    assert f"over the last {watch.num_above} steps" in str(watch)


def test_a_first_step_that_destroys_the_model_is_seen() -> None:
    watch = fed([2.5, *[14.0, 11.0, 12.0, 13.0] * 20])
    assert watch.diverged and watch.best_nats == 2.5


def test_a_slow_climb_is_seen() -> None:
    assert fed(healthy(5) + np.maximum(STEPS - 200, 0) * 0.02).diverged


def test_a_journal_gives_the_watch_that_was_lost() -> None:
    losses = healthy(6) + spike(100, 5.0, 30)
    steps = [Step(index, float(loss), 64, 32, 1.0, 1e-3, 0.1) for index, loss in enumerate(losses, 1)]
    journal = [json.loads(json.dumps(record_of(step))) for step in steps[:130]]
    resumed = fed(record["loss_nats"] for record in journal)
    assert resumed.excess_nats > 0
    assert fed(losses[130:], resumed) == fed(losses)
