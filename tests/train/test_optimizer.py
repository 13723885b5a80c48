"""What is optimised is fp32, and comes back as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_training import fingerprint_of, toy_model, toy_steps, toy_trained

from setsail.base.errors import ArtifactError, ModelError
from setsail.base.recipe import Finetune, Lora
from setsail.models.lora import add_lora
from setsail.models.tensor_file import read_tensors, write_tensors
from setsail.train.loop import train
from setsail.train.optimizer import OPTIMIZERS, MasterWeights, adamw, build_optimizer

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
    lent = {name: value.clone() for name, value in first_optimizer.state().items()}
    list(train(second, steps[3:], optimizer=second_optimizer, start=3, **SETTINGS))
    assert all(torch.equal(value, lent[name]) for name, value in first_optimizer.state().items())
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


def named(name: str, method: str = "full") -> tuple[Any, MasterWeights]:
    """A toy in bf16 with the optimizer of a recipe."""
    model = toy_model(torch.bfloat16, dropout=0.1)
    if method == "lora":
        add_lora(model, Lora(rank=4, targets=("q_proj", "v_proj", "down_proj")), seed=3)
    return model, build_optimizer(model, name, weight_decay=0.01)


def test_every_optimizer_of_a_recipe_is_known() -> None:
    assert set(Finetune.model_fields["optimizer"].annotation.__args__) == set(OPTIMIZERS)


@pytest.mark.parametrize(("name", "method"), [("muon", "lora"), *((name, "full") for name in sorted(OPTIMIZERS))])
def test_resumed_from_a_file_is_never_stopped(name: str, method: str, tmp_path: Path) -> None:
    """Fifty steps at a stretch, and twenty-five twice, bit for bit: every weight, every number of the memory."""
    steps = toy_steps(50, num_micro=1)
    whole, whole_optimizer = named(name, method)
    list(train(whole, steps, optimizer=whole_optimizer, **SETTINGS))
    first, first_optimizer = named(name, method)
    list(train(first, steps[:25], optimizer=first_optimizer, **SETTINGS))
    write_tensors(tmp_path / "weights", first_optimizer.weights())
    write_tensors(tmp_path / "memory", first_optimizer.state())
    second, second_optimizer = named(name, method)
    second_optimizer.restore(read_tensors(tmp_path / "weights"), read_tensors(tmp_path / "memory"))
    list(train(second, steps[25:], optimizer=second_optimizer, start=25, **SETTINGS))
    assert fingerprint_of(second) == fingerprint_of(whole) != fingerprint_of(first)
    memory, expected = second_optimizer.state(), whole_optimizer.state()
    assert memory.keys() == expected.keys() != set()
    assert all(torch.equal(value, expected[key]) for key, value in memory.items())


@pytest.mark.parametrize(("method", "share"), [("lora", 0.95), ("full", 0.2)])
@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_the_loss_falls(name: str, method: str, share: float) -> None:
    """Forty times the same step; adapters can do little on a base of random weights."""
    model, optimizer = named(name, method)
    rate = {"sgd": 0.3, "adagrad": 0.05}.get(name, 0.02)
    settings = SETTINGS | {"learning_rate": lambda step: rate}
    losses = [step.loss_nats for step in train(model, toy_steps(1) * 40, optimizer=optimizer, **settings)]
    assert losses[-1] < share * losses[0]


def reference(name: str) -> Callable[[list[dict[str, Any]]], torch.optim.Optimizer]:
    """Torch's own optimizer, one weight after the other, without any fused kernel."""
    return {
        "sgd": lambda groups: torch.optim.SGD(groups, momentum=0.9, foreach=False),
        "adagrad": lambda groups: torch.optim.Adagrad(groups, foreach=False),
        "adam": lambda groups: torch.optim.Adam(groups, foreach=False),
        "adamw": lambda groups: torch.optim.AdamW(groups, foreach=False),
    }[name]


def small_net() -> torch.nn.Sequential:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3))


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("name", ["sgd", "adagrad", "adam", "adamw"])
def test_fifty_steps_are_those_of_torch(name: str, weight_decay: float) -> None:
    ours, theirs = small_net(), small_net()
    optimizer = build_optimizer(ours, name, weight_decay=weight_decay)
    matrices = {"params": [theirs[0].weight, theirs[2].weight], "weight_decay": weight_decay}
    expected = reference(name)([matrices, {"params": [theirs[0].bias, theirs[2].bias]}])
    if name == "adamw":
        expected.param_groups[1]["weight_decay"] = 0.0
    inputs = torch.randn(32, 6, generator=torch.Generator().manual_seed(1))
    for model, stepped in ((ours, optimizer), (theirs, expected)):
        for group in stepped.param_groups:
            group["lr"] = 0.02
        for step in range(50):
            stepped.zero_grad()
            (model(inputs.roll(step, 1)) - inputs[:, :3]).square().mean().backward()
            stepped.step()
    start = small_net()
    for our, their, old in zip(ours.parameters(), theirs.parameters(), start.parameters(), strict=True):
        torch.testing.assert_close(our, their, rtol=1e-5, atol=1e-6)
        assert (our - old).abs().max() > 0.05


def test_muon_without_a_matrix_to_step_is_refused() -> None:
    with pytest.raises(ModelError, match="inside a model's blocks"):
        build_optimizer(small_net(), "muon")
