"""Optimisers over fp32 weights, whatever precision the model computes in.

The invariant: what is optimised is always fp32. A weight that the model keeps in bf16 has an fp32 master copy,
gradients are added up in fp32, and the model's weight is the master rounded once after each step. The mathematics is
torch's, but for Muon's (train/muon.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from setsail.base.errors import ArtifactError, ModelError
from setsail.models.kernels import functions as kernels
from setsail.train.muon import Muon, block_matrices

# Named fp32 weights to an optimizer over them.
Build = Callable[[dict[str, Tensor]], torch.optim.Optimizer]


def build_optimizer(model: nn.Module, name: str, *, weight_decay: float = 0.0) -> MasterWeights:
    """The optimizer that a recipe names, over the model's trainable weights; the loop sets the learning rate.

    Matrices decay, vectors do not. AdamW and Muon shrink the weights themselves; SGD, Adagrad and Adam add the decay to
    the gradient, as torch does.

    Raises:
        ModelError: Muon for a model that has no matrix inside its blocks.
    """
    return OPTIMIZERS[name](model, weight_decay=weight_decay)


def adamw(
    model: nn.Module, *, weight_decay: float = 0.0, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
) -> MasterWeights:
    """AdamW over the model's trainable weights; matrices decay, vectors do not. The loop sets the learning rate."""

    def build(weights: dict[str, Tensor]) -> torch.optim.Optimizer:
        return torch.optim.AdamW(_groups(weights, weight_decay), betas=betas, eps=eps, fused=True)

    return MasterWeights(model, build)


def adam(model: nn.Module, *, weight_decay: float = 0.0) -> MasterWeights:
    """Adam, with torch's betas and eps."""
    return MasterWeights(model, lambda weights: torch.optim.Adam(_groups(weights, weight_decay), fused=True))


def adagrad(model: nn.Module, *, weight_decay: float = 0.0) -> MasterWeights:
    """Adagrad: steps shrink with the root of all squared gradients so far."""
    return MasterWeights(model, lambda weights: torch.optim.Adagrad(_groups(weights, weight_decay)))


def sgd(model: nn.Module, *, weight_decay: float = 0.0) -> MasterWeights:
    """Stochastic gradient descent with a momentum of 0.9."""
    return MasterWeights(model, lambda weights: torch.optim.SGD(_groups(weights, weight_decay), momentum=0.9))


def muon(model: nn.Module, *, weight_decay: float = 0.0) -> MasterWeights:
    """Muon for the matrices inside the blocks, AdamW for the other weights, with one learning rate for both."""
    inside = block_matrices(model)

    def build(weights: dict[str, Tensor]) -> torch.optim.Optimizer:
        matrices = [weight for name, weight in weights.items() if name in inside]
        others = {name: weight for name, weight in weights.items() if name not in inside}
        if not matrices:
            raise ModelError("muon is for the matrices inside a model's blocks, and none is trained", hint="take adamw")
        return Muon(matrices, _groups(others, weight_decay), weight_decay=weight_decay)

    return MasterWeights(model, build)


OPTIMIZERS: dict[str, Callable[..., MasterWeights]] = {
    "adagrad": adagrad,
    "adam": adam,
    "adamw": adamw,
    "muon": muon,
    "sgd": sgd,
}


class MasterWeights:
    """An optimizer over fp32 copies of a model's trainable weights; a weight that is fp32 already is its own master.

    Mutates: the model's trainable weights at each `step` and at `restore`.
    """

    def __init__(self, model: nn.Module, build: Build) -> None:
        self._weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self._masters = {name: _master_of(weight) for name, weight in self._weights.items()}
        self._optimizer = build(self._masters)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return self._optimizer.param_groups

    def step(self) -> None:
        self._optimizer.step()
        self._round_to_model()

    def zero_grad(self) -> None:
        self._optimizer.zero_grad(set_to_none=True)

    def weights(self) -> dict[str, Tensor]:
        """The fp32 weights by their name in the model."""
        return {name: master.detach() for name, master in self._masters.items()}

    def state(self) -> dict[str, Tensor]:
        """The optimizer's memory: one tensor for each `<what>:<name of the weight>`."""
        return {
            f"{what}:{name}": value
            for name, master in self._masters.items()
            for what, value in self._optimizer.state.get(master, {}).items()
            if value is not None
        }

    @torch.no_grad()
    def restore(self, weights: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
        """Takes over weights and memory of an earlier `weights()` and `state()`.

        Raises:
            ArtifactError: they belong to a model with other trainable weights.
        """
        check_same(self._masters, weights)
        memory: dict[str, dict[str, Tensor]] = {name: {} for name in self._masters}
        for key, value in state.items():
            what, _, name = key.partition(":")
            if name not in memory:
                raise ArtifactError(f'the optimizer\'s state speaks of a weight "{name}" that is not trained')
            memory[name][what] = value.to(self._masters[name].device, copy=True)
        for name, master in self._masters.items():
            master.copy_(weights[name])
            self._optimizer.state[master] = memory[name]
        self._round_to_model()

    @torch.no_grad()
    def _round_to_model(self) -> None:
        for name, weight in self._weights.items():
            if weight is not self._masters[name]:
                weight.copy_(self._masters[name])


def _groups(weights: Mapping[str, Tensor], weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups of the weights that decay and of those that do not, without empty ones."""
    groups = [
        {"params": [weight for weight in weights.values() if weight.ndim >= 2], "weight_decay": weight_decay},
        {"params": [weight for weight in weights.values() if weight.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _master_of(weight: nn.Parameter) -> Tensor:
    """The fp32 tensor that is optimised in the weight's stead; the weight's gradients are moved to it as they come."""
    if weight.dtype == torch.float32 or weight.dtype == torch.float64:
        return weight
    master = weight.detach().float()

    def move_gradient(weight: Tensor) -> None:
        assert weight.grad is not None
        if master.grad is None:
            master.grad = weight.grad.float()
        else:
            kernels.add_(master.grad, weight.grad)
        weight.grad = None

    weight.register_post_accumulate_grad_hook(move_gradient)
    return master


def check_same(ours: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> None:
    """Makes sure that saved weights are of the model in hand.

    Raises:
        ArtifactError: names or shapes differ.
    """
    shapes = {name: tuple(weight.shape) for name, weight in ours.items()}
    saved_shapes = {name: tuple(weight.shape) for name, weight in saved.items()}
    if shapes == saved_shapes:
        return
    names = sorted(name for name in {*shapes, *saved_shapes} if shapes.get(name) != saved_shapes.get(name))
    raise ArtifactError(
        f'the saved weights are of another model: "{names[0]}" is {saved_shapes.get(names[0], "missing")} there '
        f"and {shapes.get(names[0], 'missing')} here ({len(names)} differ)"
    )
