"""Weights that are shared out among processes: each keeps a part of every weight, and of what the optimizer remembers.

torch's FSDP2 does it: a block's weights are gathered just before it computes, in the model's number format, and let go
of after; its gradients are added up in fp32, each process getting its part. The invariant: the parts are fp32 and are
the masters (see optimizer.py), so that the whole of them is what a process alone would have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, Replicate

from setsail.base.device import device

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from setsail.train.objective import Objective
    from setsail.train.parallel import World


class _Passes(nn.Module):
    """A model and what is computed from it; weights outside the blocks are gathered for as long as that takes."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, compute: Callable[[], Any]) -> Any:
        return compute()


def shard(model: PreTrainedModel, objective: Objective, world: World) -> Objective:
    """Shares the model's weights out, and returns the objective through which it must be taught from now on.

    All processes must go through as many losses. Mutates: the model, which computes by itself no more.
    """
    dtype = model.dtype
    for weight in model.parameters():
        if weight.requires_grad and weight.element_size() < 4:
            weight.data = weight.data.float()
    passes = _Passes(model)
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=_at_least_fp32(dtype), cast_forward_inputs=False)
    mesh = init_device_mesh(device().type, (world.size,))
    for module in (*_blocks(model), passes):
        fully_shard(module, mesh=mesh, mp_policy=policy)
        assert isinstance(module, FSDPModule)
        module.set_gradient_divide_factor(1.0)  # summed, not averaged: the loop has divided by all tokens of the step
        module.set_force_sum_reduction_for_comms(True)

    def loss(model: PreTrainedModel, batch: Any) -> tuple[Tensor, int]:
        return passes(lambda: objective.loss(model, batch))

    return replace(objective, loss=loss, check=lambda model: None)


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor of which each process has a part (all must ask for it); any other as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def part_like(tensor: Tensor, like: Tensor) -> Tensor:
    """This process's part of a tensor that all have whole, cut as `like` is; the tensor where `like` is whole."""
    if not isinstance(like, DTensor):
        return tensor
    everywhere = DTensor.from_local(tensor, like.device_mesh, [Replicate()], run_check=False)
    return everywhere.redistribute(placements=like.placements)


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The repeated blocks of a model, those inside others left out."""
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            yield from child
        else:
            yield from _blocks(child)


def _at_least_fp32(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32
