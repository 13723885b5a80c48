"""The training loop, a generator: score, save, log and stop are plain statements of whoever iterates.

The invariant: a step is a function of the weights, the optimizer's state, the batches, the seed and the step's index.
No random state is carried from one step to the next, so that a resumed run and one never stopped are the same.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from setsail.base.errors import EXIT_CHECK_REFUSED, DataError, SetsailError
from setsail.train.loss import NEXT_TOKEN
from setsail.train.objective import Batch, Objective
from setsail.train.parallel import ALONE, World, sum_gradients
from setsail.train.sharded import whole

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TrainingDiverged(SetsailError):
    """A loss or a gradient that is not a finite number; the weights are as they were before the step."""

    exit_code = EXIT_CHECK_REFUSED
    label = "training diverged"


class Optimizer(Protocol):
    """What the loop needs of an optimizer; torch's own fit."""

    @property
    def param_groups(self) -> list[dict[str, Any]]: ...

    def step(self) -> Any: ...

    def zero_grad(self) -> None: ...


@dataclass(frozen=True)
class Step:
    """What one step of training did. `index` counts from 1: after it, that many steps are done."""

    index: int
    loss_nats: float  # mean over the step's supervised tokens
    num_tokens: int
    num_supervised: int
    grad_norm: float  # before clipping
    learning_rate: float
    seconds: float


def train(
    model: PreTrainedModel,
    steps: Iterable[Sequence[Batch]],
    *,
    optimizer: Optimizer,
    learning_rate: Callable[[int], float],
    clip_norm: float,
    seed: int,
    start: int = 0,
    objective: Objective = NEXT_TOKEN,
    world: World = ALONE,
) -> Iterator[Step]:
    """Trains on `steps`, each a list of micro-batches, and yields what each did.

    `start` steps are already done: the first of `steps` is number `start` + 1. Every process of `world` is given the
    same steps, goes through its share of each, and yields what all of them did.

    Mutates: the model's trainable weights, the optimizer, torch's global random state.

    Raises:
        TrainingDiverged: before a step that is not finite would change anything.
        DataError: a step without a supervised token.
    """
    objective.check(model)
    optimizer.zero_grad()
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for index, batches in enumerate(steps, start + 1):
        began = time.perf_counter()
        total = _total_supervised(batches, index)
        model.train()  # whoever iterates may have evaluated
        losses = [0.0] * len(batches)
        for number, share in world.passes(len(batches)):
            torch.manual_seed(seed_at(seed, index, number))
            nats, _ = objective.loss(model, batches[number])
            (share * nats / total).backward()
            losses[number] += share * nats.item()
        losses = world.sums(losses)
        sum_gradients(world, weights)
        grad_norm = _clip(weights, clip_norm)
        if not math.isfinite(grad_norm + sum(losses)):
            optimizer.zero_grad()
            raise _diverged(index, batches, losses, grad_norm)
        rate = learning_rate(index)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad()
        num_tokens = sum(batch.num_tokens for batch in batches)
        seconds = time.perf_counter() - began
        yield Step(index, sum(losses) / total, num_tokens, total, grad_norm, rate, seconds)


def seed_at(seed: int, step: int, micro_batch: int) -> int:
    """The random seed of one micro-batch of one step, unrelated to its neighbours' (63 bits)."""
    digest = hashlib.sha256(f"{seed}/{step}/{micro_batch}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _clip(weights: Sequence[Tensor], longest: float) -> float:
    """Scales all gradients down so that their common norm is at most `longest`; returns what it was."""
    norm = whole(get_total_norm([weight.grad for weight in weights if weight.grad is not None]))
    clip_grads_with_norm_(weights, longest, norm)
    return float(norm)


def _total_supervised(batches: Sequence[Batch], index: int) -> int:
    total = sum(batch.num_supervised for batch in batches)
    if total == 0:
        raise DataError(f"step {index} has no supervised token: nothing could be learned from it", place=_rows(batches))
    return total


def _diverged(index: int, batches: Sequence[Batch], losses: list[float], grad_norm: float) -> TrainingDiverged:
    """The error that names the step, what was not finite, and the rows of the micro-batches at fault."""
    at_fault = [batch for batch, loss in zip(batches, losses, strict=True) if not math.isfinite(loss)]
    what = f"the loss is {sum(losses)}" if at_fault else f"the gradient's norm is {grad_norm}"
    return TrainingDiverged(
        f"{what} at step {index}; the weights were left as they were after step {index - 1}",
        place=_rows(at_fault or batches),
        hint="lower the learning rate, or look at these rows",
    )


def _rows(batches: Sequence[Batch]) -> str | None:
    """The ids of the rows in these batches, where the packer gave them."""
    ids = [str(row) for batch in batches for row in batch.row_ids]
    more = f" and {len(ids) - 8} more" if len(ids) > 8 else ""
    return f"rows {', '.join(ids[:8])}{more}" if ids else None
