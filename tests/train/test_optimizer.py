"""What is optimised is fp32, and comes back as it was."""

from __future__ import annotations

import pytest
import torch
from toy_training import fingerprint_of, toy_model, toy_steps, toy_trained

from setsail.base.errors import ArtifactError
from setsail.train.loop import train
from setsail.train.optimizer import adamw

SETTINGS = {"learning_rate": lambda step: 1e-2, "clip_norm": 1.0, "seed": 1}


def test_a_bf16_weight_is_its_master_rounded_once() -> None:
    model, optimizer = toy_trained("full")
    start = {name: master.clone() for name, master in optimizer.weights().items()}
    list(train(model, toy_steps(3), optimizer=optimizer, **SETTINGS))
    masters = optimizer.weights()
    for name, weight in model.named_parameters():
        assert masters[name].dtype == torch.float32 and not torch.equal(masters[name], start[name])
        assert torch.equal(weight, masters[name].bfloat16()), name
    assert any(not torch.equal(master, master.bfloat16().float()) for master in masters.values())


def test_updates_too_small_for_bf16_are_not_lost() -> None:
    model = torch.nn.Linear(1, 1, bias=False).bfloat16()
    torch.nn.init.ones_(model.weight)
    optimizer = adamw(model)
    for group in optimizer.param_groups:
        group["lr"] = 1e-4
    for _ in range(100):
        model(torch.ones(1, 1, dtype=torch.bfloat16)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert model.weight.item() == pytest.approx(0.99, abs=4e-3)


def test_gradients_of_micro_batches_are_added_in_fp32() -> None:
    model = torch.nn.Linear(1, 1, bias=False).bfloat16()
    optimizer = adamw(model)
    for size in (256.0, 1.0, 1.0, 1.0):
        model(torch.full((1, 1), size, dtype=torch.bfloat16)).sum().backward()
    master = optimizer.param_groups[0]["params"][0]
    assert master.grad.item() == 259.0  # bf16 would have stayed at 256
    assert model.weight.grad is None


def test_an_fp32_weight_is_its_own_master() -> None:
    model = toy_model()
    optimizer = adamw(model)
    trained = {weight for group in optimizer.param_groups for weight in group["params"]}
    assert trained == set(model.parameters())


def test_vectors_do_not_decay() -> None:
    groups = adamw(toy_model(), weight_decay=0.1).param_groups
    assert {(weight.ndim, group["weight_decay"]) for group in groups for weight in group["params"]} == {
        (1, 0.0),
        (2, 0.1),
    }


@pytest.mark.parametrize("method", ["lora", "full"])
def test_weights_and_memory_come_back_as_they_were(method: str) -> None:
    steps = toy_steps(6)
    whole, whole_optimizer = toy_trained(method)
    list(train(whole, steps, optimizer=whole_optimizer, **SETTINGS))
    first, first_optimizer = toy_trained(method)
    list(train(first, steps[:3], optimizer=first_optimizer, **SETTINGS))
    second, second_optimizer = toy_trained(method)
    second_optimizer.restore(first_optimizer.weights(), first_optimizer.state())
    assert fingerprint_of(second) == fingerprint_of(first)
    list(train(second, steps[3:], optimizer=second_optimizer, start=3, **SETTINGS))
    assert fingerprint_of(second) == fingerprint_of(whole)
    for name, value in second_optimizer.state().items():
        assert torch.equal(value, whole_optimizer.state()[name]), name


def test_another_models_weights_are_refused() -> None:
    _, lora = toy_trained("lora")
    _, full = toy_trained("full")
    with pytest.raises(ArtifactError, match="of another model"):
        full.restore(lora.weights(), {})
    with pytest.raises(ArtifactError, match='a weight "nothing"'):
        full.restore(full.weights(), {"exp_avg:nothing": torch.zeros(1)})
