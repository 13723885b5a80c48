"""The plan: what it counts is what happens, and probing changes nothing."""

from __future__ import annotations

import torch
from toy_training import PackedRow, fingerprint_of, toy_steps, toy_trained

from setsail.train.loop import train
from setsail.train.plan import describe, make_plan, probe


class Counted(list[list[PackedRow]]):
    """Steps in memory, with the counts that a plan is made of."""

    @property
    def num_tokens(self) -> int:
        return sum(batch.num_tokens for step in self for batch in step)

    @property
    def num_supervised(self) -> int:
        return sum(batch.num_supervised for step in self for batch in step)

    @property
    def num_micro_batches(self) -> int:
        return sum(map(len, self))


SETTINGS = {"learning_rate": lambda step: 1e-2, "clip_norm": 1.0, "seed": 1}


def test_a_probe_leaves_the_model_and_the_optimizer_as_they_were() -> None:
    for method in ("lora", "full"):
        model, optimizer = toy_trained(method)
        before = fingerprint_of(model)
        found = probe(model, toy_steps(1)[0])
        assert found.seconds_per_token > 0 and found.peak_bytes > 2**20
        assert fingerprint_of(model) == before and not model.training
        assert all(weight.grad is None for weight in model.parameters())
        assert all(weight.grad is None for group in optimizer.param_groups for weight in group["params"])
        assert optimizer.state() == {}


def test_a_probe_does_not_change_what_is_learned() -> None:
    finals = []
    for probed in (False, True):
        model, optimizer = toy_trained("lora")
        if probed:
            probe(model, toy_steps(1)[0])
        list(train(model, toy_steps(2), optimizer=optimizer, **SETTINGS))
        finals.append(fingerprint_of(model))
    assert finals[0] == finals[1]


def test_what_the_plan_counts_is_what_happens() -> None:
    model, optimizer = toy_trained("lora")
    steps = Counted(toy_steps(5, num_micro=3))
    found = probe(model, steps[0])
    plan = make_plan(model, steps, num_rows=45, num_truncated=12_000, truncated=["row3"], probe=found)
    done = list(train(model, steps, optimizer=optimizer, **SETTINGS))
    assert plan.num_steps == len(done) == 5
    assert plan.num_micro_batches == 15
    assert plan.num_tokens == sum(step.num_tokens for step in done)
    assert plan.num_supervised == sum(step.num_supervised for step in done)
    assert plan.num_trained_weights == sum(weight.numel() for weight in optimizer.weights().values())
    assert plan.predicted_memory_bytes > plan.num_trained_weights * 12
    text = describe(plan)
    assert "steps       5 of 3.0 micro-batches" in text
    assert "truncated   12,000 rows: row3 and 11,990 more" in text


def test_the_predicted_memory_of_full_fine_tuning_has_room_for_masters_and_moments() -> None:
    model, _ = toy_trained("full")
    found = probe(model, toy_steps(1)[0])
    plan = make_plan(model, Counted(toy_steps(1)), num_rows=1, num_truncated=0, truncated=[], probe=found)
    num_weights = sum(weight.numel() for weight in model.parameters())
    assert plan.predicted_memory_bytes == found.peak_bytes + 16 * num_weights
    assert torch.finfo(model.dtype).bits == 16
