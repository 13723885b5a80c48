"""What is trained, by one process or by several: a model, its optimizer, and the whole weights where one looks at them.

The invariant: whatever the processes share out among themselves, what goes to the disk and to validation is whole, is
held by the leading process, and has the names and the precision that a process alone would give it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from setsail.base.device import device
from setsail.train.objective import Objective
from setsail.train.optimizer import MasterWeights, check_same
from setsail.train.parallel import ALONE, Order, World, checksums
from setsail.train.sharded import part_like, shard, whole

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Learner:
    """What goes through the steps. `look` gives the whole model with its weights as they are; the leader's to call."""

    model: PreTrainedModel
    optimizer: MasterWeights | SharedWeights
    objective: Objective
    world: World
    look: Callable[[], PreTrainedModel]


def make_learner(
    model: PreTrainedModel,
    build: Callable[[nn.Module], MasterWeights],
    *,
    objective: Objective,
    world: World = ALONE,
    sharded: bool = False,
) -> Learner:
    """The learner of a model; `sharded`, each of several processes keeps only its part of the weights.

    All processes make theirs together, from the same model.

    Raises:
        ModelError: the model cannot be taught so.
        SystemRefusal: the processes have different weights.
    """
    if world.size == 1:
        return Learner(model, build(model), objective, world, lambda: model)
    world.check_alike("the weights", checksums(model.parameters()))
    if not sharded:
        return Learner(model, SharedWeights(build(model), world), objective, world, lambda: model)
    if world.leads:
        objective.check(model)
    parts = deepcopy(model) if world.leads else model  # the leader's own stays whole: to be validated, shown and saved
    parts.cpu()  # where there is room for what is not yet shared out; each part goes back to the device
    world = replace(world, in_step=True)
    taught = shard(parts, objective, world)
    optimizer = SharedWeights(build(parts), world)

    def look() -> PreTrainedModel:
        _take_over(model, optimizer.weights())
        return model

    return Learner(parts, optimizer, taught, world, look)


class SharedWeights:
    """The optimizer of one of several processes: in the leading one it gives and takes whole weights.

    What the leader asks for, the others are ordered to give (`follow`). Mutates: as `MasterWeights` does.
    """

    def __init__(self, optimizer: MasterWeights, world: World) -> None:
        self._optimizer, self._world = optimizer, world

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return self._optimizer.param_groups

    def step(self) -> None:
        self._optimizer.step()

    def zero_grad(self) -> None:
        self._optimizer.zero_grad()

    def weights(self) -> dict[str, Tensor]:
        """The fp32 weights by their name in the model.

        Raises:
            SystemRefusal: weights that every process holds whole have come apart.
        """
        self._world.order("weights")
        return self._gather_weights()

    def state(self) -> dict[str, Tensor]:
        """The optimizer's memory, as `MasterWeights.state`."""
        self._world.order("state")
        return self._gather(self._optimizer.state())

    def restore(self, weights: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
        """Takes over weights and memory of an earlier `weights()` and `state()`, of however many processes.

        Raises:
            ArtifactError: they belong to a model with other trainable weights.
        """
        check_same(self._optimizer.weights(), weights)
        layout = {key: [str(value.dtype).removeprefix("torch."), list(value.shape)] for key, value in state.items()}
        self._world.order("restore", state=layout)
        self._scatter(weights, state, layout)

    def follow(self, order: Order) -> None:
        """Does this process's part of what the leading one does."""
        if order["do"] == "weights":
            self._gather_weights()
        elif order["do"] == "state":
            self._gather(self._optimizer.state())
        else:
            assert order["do"] == "restore", order
            self._scatter({}, {}, order["state"])

    def _gather_weights(self) -> dict[str, Tensor]:
        weights = self._optimizer.weights()
        if not self._world.in_step:
            self._world.check_alike("the weights", checksums(weights.values()))
        return self._gather(weights)

    def _gather(self, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The whole tensors in the leading process, one after the other and on the CPU; nothing in the others."""
        if not self._world.in_step:
            return dict(parts)
        gathered = {}
        for name, part in parts.items():
            tensor = whole(part)
            if self._world.leads:
                gathered[name] = tensor.cpu()
        return gathered

    def _scatter(self, weights: Mapping[str, Tensor], state: Mapping[str, Tensor], layout: Mapping[str, Any]) -> None:
        """Hands the leading process's whole tensors to all, each of which takes its part."""
        masters = self._optimizer.weights()
        parts = {
            name: part_like(self._handed(weights.get(name), master.shape, master.dtype), like=master)
            for name, master in masters.items()
        }
        memory = {}
        for key, (dtype, shape) in layout.items():
            tensor = self._handed(state.get(key), shape, getattr(torch, dtype))
            master = masters.get(key.partition(":")[2])
            if master is not None and tensor.shape == master.shape:  # a number of steps is not shared out
                tensor = part_like(tensor, like=master)
            memory[key] = tensor
        self._optimizer.restore(parts, memory)

    def _handed(self, tensor: Tensor | None, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """A tensor of the leading process, in every process."""
        handed = torch.empty(shape, dtype=dtype, device=device())
        if tensor is not None:
            handed.copy_(tensor)
        dist.broadcast(handed, src=0)
        return handed


@torch.no_grad()
def _take_over(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    ours = dict(model.named_parameters())
    for name, weight in weights.items():
        ours[name].copy_(weight)
