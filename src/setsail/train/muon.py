"""Muon: a step of equal length in every direction for the matrices inside the blocks, AdamW for all other weights.

The invariant: each matrix is stepped by itself, whatever memory it shares with others, and a step is a function of the
weight, its gradient and its momentum. Of a matrix that is shared out among processes, each works out the whole update
and keeps its part. Which precision the weights have is none of this file's business (see train/optimizer.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from setsail.base.device import compute_dtype
from setsail.train.sharded import part_like, whole

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of x, x³ and x⁵
NUM_ITERATIONS = 5
MOMENTUM = 0.95
ADAMW_RMS = 0.2
ADAMW_BETAS = (0.9, 0.95)
SMALLEST_NORM = 1e-12  # below it a gradient counts as zero; the squares of its entries would underflow


class Muon(torch.optim.Optimizer):
    """Nesterov momentum with its singular values made equal, for `matrices`; AdamW for the groups of `others`.

    An update of n×m is scaled by 0.2·√max(n, m), which gives its entries the root mean square that AdamW's have. So one
    learning rate serves both parts and means what it means for AdamW, for weights of any shape and either orientation,
    LoRA's factors among them. In the scale of Jordan's own Muon it is about four times as much at widths of 256 to 512
    (0.04 there is 0.01 here) and eight times at 1536. Decay shrinks the weights by rate · decay.

    Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks" (kellerjordan.github.io/posts/
    muon): momentum, iteration and what it is for. Liu et al. 2025, "Muon is Scalable for LLM Training" (arXiv
    2502.16982): the scale, the decay, and AdamW's betas beside it. We differ in taking the norm in the gradient's own
    precision, and in iterating in float32 where the hardware does not multiply bfloat16.
    """

    def __init__(
        self,
        matrices: Sequence[Tensor],
        others: Sequence[dict[str, Any]],
        *,
        weight_decay: float = 0.0,
        dtype: torch.dtype | None = None,
    ) -> None:
        assert all(matrix.ndim == 2 for matrix in matrices)
        self._dtype = dtype or compute_dtype()
        self._adamw = torch.optim.AdamW(others, betas=ADAMW_BETAS, fused=True) if others else None
        others = self._adamw.param_groups if self._adamw else []
        super().__init__([{"params": list(matrices), "weight_decay": weight_decay}, *others], {"lr": 1e-3})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        assert closure is None, "the loop computes the loss"
        group = self.param_groups[0]
        for weight in group["params"]:
            if weight.grad is not None:
                self._step(weight, weight.grad, rate=group["lr"], weight_decay=group["weight_decay"])
        if self._adamw is not None:
            self._adamw.param_groups, self._adamw.state = self.param_groups[1:], self.state
            self._adamw.step()

    def _step(self, weight: Tensor, gradient: Tensor, *, rate: float, weight_decay: float) -> None:
        state = self.state[weight]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        momentum = state["momentum_buffer"].lerp_(gradient, 1 - MOMENTUM)
        ahead = gradient.lerp(momentum, MOMENTUM)
        update = part_like(orthogonalized(whole(ahead), self._dtype), like=ahead)
        weight.mul_(1 - rate * weight_decay)
        weight.add_(update, alpha=-rate * ADAMW_RMS * math.sqrt(max(weight.shape)))


def orthogonalized(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """The matrix with its singular values brought near one and its singular vectors kept, computed in `dtype`.

    Singular values of at least 1/500 of the matrix's Frobenius norm come out between 0.68 and 1.21, smaller ones lower
    and zero as zero; bfloat16 blurs that a little. A multiple of the matrix gives the same.

    Source: the quintic Newton–Schulz iteration of Jordan et al. 2024, with its coefficients: not an approximation that
    converges to one, but the fastest way near it.
    """
    linear, cubic, quintic = COEFFICIENTS
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT  # the smaller of the two Gram matrices
    x = (wide / wide.norm().clamp(min=SMALLEST_NORM)).to(dtype)
    for _ in range(NUM_ITERATIONS):
        gram = x @ x.mT
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=cubic, alpha=quintic), x, beta=linear)
    return x if wide is matrix else x.mT


def block_matrices(model: nn.Module) -> set[str]:
    """Names of the two-dimensional weights inside the model's repeated blocks, LoRA's factors included.

    Blocks are what stands in an `nn.ModuleList`. Embeddings and output layers stand outside, with whatever is tied to
    them: for those Muon is not meant.
    """
    blocks = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    embeddings = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    inside = {weight for module in blocks for weight in module.parameters() if weight.ndim == 2}
    inside -= {module.weight for module in embeddings}
    return {name for name, weight in model.named_parameters() if weight in inside}
