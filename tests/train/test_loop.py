"""The loop: it learns as a plain loop does, and refuses a step that would do harm."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from test_loss import padded_nats
from toy_training import PackedRow, fingerprint_of, packed, toy_documents, toy_model, toy_steps, toy_trained

from setsail.base.errors import DataError
from setsail.train.loop import TrainingDiverged, seed_at, train
from setsail.train.optimizer import adamw
from setsail.train.schedule import schedule

SETTINGS = {"learning_rate": lambda step: 1e-2, "clip_norm": 1.0, "seed": 1}


@pytest.mark.parametrize(("dtype", "band"), [(torch.float64, 1e-7), (torch.float32, 2e-4)])
def test_the_curve_is_that_of_a_plain_loop(dtype: torch.dtype, band: float) -> None:
    rate = schedule("cosine", peak=5e-3, num_steps=50, warmup=0.1)
    documents = toy_documents(24)
    ours, plain = toy_model(dtype), toy_model(dtype, attention="sdpa")
    steps = [[packed(documents[:13]), packed(documents[13:])]] * 50
    optimizer = adamw(ours, weight_decay=0.01)
    losses = [s.loss_nats for s in train(ours, steps, optimizer=optimizer, learning_rate=rate, clip_norm=1.0, seed=1)]

    matrices = [weight for weight in plain.parameters() if weight.ndim >= 2]
    vectors = [weight for weight in plain.parameters() if weight.ndim < 2]
    reference = torch.optim.AdamW([{"params": matrices}, {"params": vectors, "weight_decay": 0.0}], weight_decay=0.01)
    count = sum(batch.num_supervised for batch in steps[0])
    for step, ours_nats in enumerate(losses, 1):
        loss = padded_nats(plain, documents).sum() / count
        loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        for group in reference.param_groups:
            group["lr"] = rate(step)
        reference.step()
        reference.zero_grad()
        assert ours_nats == pytest.approx(loss.item(), rel=band), step
    assert losses[-1] < 0.5 * losses[0]


def test_micro_batches_change_nothing_but_memory() -> None:
    documents = toy_documents(12)

    def weights_after(split: int) -> list[torch.Tensor]:
        model = toy_model(torch.float64)
        rows = [packed(documents[at : at + split]) for at in range(0, 12, split)]
        list(train(model, [rows] * 3, optimizer=adamw(model), **SETTINGS))
        return list(model.parameters())

    for one, many in zip(weights_after(12), weights_after(3), strict=True):
        torch.testing.assert_close(one, many, rtol=1e-5, atol=1e-8)


def test_a_step_says_what_it_did() -> None:
    model, steps = toy_model(), toy_steps(3)
    done = list(train(model, steps, optimizer=adamw(model), **SETTINGS))
    assert [step.index for step in done] == [1, 2, 3]
    for step, batches in zip(done, steps, strict=True):
        assert step.num_tokens == sum(len(batch.input_ids) for batch in batches)
        assert step.num_supervised == sum(batch.num_supervised for batch in batches)
        assert step.learning_rate == 1e-2
        assert step.grad_norm > 0 and step.seconds > 0


def test_only_what_is_trained_changes() -> None:
    model, optimizer = toy_trained("lora")
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    list(train(model, toy_steps(2), optimizer=optimizer, **SETTINGS))
    changed = {name for name, weight in model.state_dict().items() if not torch.equal(weight, before[name])}
    assert changed == {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert all("lora_" in name for name in changed)


def test_randomness_depends_on_where_a_step_stands_not_on_what_came_before() -> None:
    steps = toy_steps(1)
    assert len({seed_at(seed, step, number) for seed in range(5) for step in range(5) for number in range(5)}) == 125
    losses = []
    for noise, start, seed in ((1, 0, 1), (99, 0, 1), (1, 4, 1), (1, 0, 2)):
        model = toy_model(dropout=0.5)
        torch.manual_seed(noise)
        settings = SETTINGS | {"seed": seed}
        losses += [step.loss_nats for step in train(model, steps, optimizer=adamw(model), start=start, **settings)]
    assert losses[0] == losses[1]
    assert len(set(losses)) == 3


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("poison", ["weight", "gradient"])
def test_a_step_that_is_not_finite_stops_before_it_changes_anything(method: str, poison: str) -> None:
    model, optimizer = toy_trained(method)
    done, before, state = [], "", {}

    def poisoned():
        nonlocal before, state
        for number, batches in enumerate(toy_steps(5), 1):
            if number == 3:
                before = fingerprint_of(model)
                state = {name: value.clone() for name, value in optimizer.state().items()}
                break_it()
            yield batches

    def break_gradient(module, inputs, output) -> None:
        output.register_hook(lambda gradient: gradient / 0)

    def break_it() -> None:
        if poison == "gradient":
            model.model.norm.register_forward_hook(break_gradient)
        else:
            model.model.norm.register_forward_hook(lambda module, inputs, output: output * float("nan"))

    with pytest.raises(TrainingDiverged, match="at step 3; the weights were left") as caught:
        done.extend(step.index for step in train(model, poisoned(), optimizer=optimizer, **SETTINGS))
    assert "row12, row13" in str(caught.value)
    assert fingerprint_of(model) == before
    assert all(torch.equal(value, state[name]) for name, value in optimizer.state().items())
    assert all(weight.grad is None for group in optimizer.param_groups for weight in group["params"])


def test_the_rows_of_the_broken_micro_batch_are_named_alone() -> None:
    model = toy_model()
    calls = iter(range(100))
    model.model.norm.register_forward_hook(  # the first call is the check of the head, the third the second micro-batch
        lambda module, inputs, output: output * float("inf") if next(calls) == 3 else output
    )
    with pytest.raises(TrainingDiverged) as caught:
        list(train(model, toy_steps(1, num_micro=3), optimizer=adamw(model), **SETTINGS))
    assert caught.value.place == "rows row3, row4, row5"


def test_a_step_without_a_supervised_token_is_an_error() -> None:
    row = packed(toy_documents(2))
    empty: PackedRow = replace(row, targets=row.targets * 0 - 100)
    model = toy_model()
    with pytest.raises(DataError, match="step 1 has no supervised token"):
        list(train(model, [[empty]], optimizer=adamw(model), **SETTINGS))
    steps = list(train(model, [[empty, row]], optimizer=adamw(model), **SETTINGS))
    assert steps[0].num_supervised == row.num_supervised


def test_gradients_are_clipped() -> None:
    moved = []
    for clip_norm in (1e-3, 1e9):
        model = toy_model()
        before = model.lm_head.weight.detach().clone()
        plain = torch.optim.SGD(model.parameters(), lr=1.0)
        step = next(train(model, toy_steps(1), optimizer=plain, **SETTINGS | {"clip_norm": clip_norm}))
        moved.append((model.lm_head.weight.detach() - before).norm().item())
        assert step.grad_norm > 1e-2
    assert moved[0] <= 1.01e-5 < moved[1]
