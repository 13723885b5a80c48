"""What a training run will do, said before its first step: counted, or predicted from one timed micro-batch."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from setsail.base.log import duration, size
from setsail.train.loss import NEXT_TOKEN
from setsail.train.objective import Batch, Objective

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Probe:
    """What one micro-batch, forward and backward, took on this machine."""

    seconds_per_token: float
    peak_bytes: int  # of the whole process so far, or of the GPU


class Steps(Protocol):
    """All steps of a run in all its epochs, counted without making them."""

    @property
    def num_tokens(self) -> int: ...

    @property
    def num_supervised(self) -> int: ...

    @property
    def num_micro_batches(self) -> int: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Plan:
    """A run in figures. `truncated` names the first rows that were cut; `num_tokens` counts every epoch."""

    num_rows: int
    num_tokens: int
    num_supervised: int
    num_truncated: int
    truncated: tuple[str, ...]
    num_steps: int
    num_micro_batches: int
    num_trained_weights: int
    predicted_seconds: float
    predicted_memory_bytes: int


def probe(model: PreTrainedModel, batches: Sequence[Batch], objective: Objective = NEXT_TOKEN) -> Probe:
    """Times forward and backward over the longest of `batches`, twice, and takes the second. It changes nothing.

    The batch is validated as well, since that holds logits of its own: the peak of memory is that of both.
    """
    batch = max(batches, key=lambda batch: batch.num_tokens)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    was_training = model.training
    model.train()
    seconds = 0.0
    for _ in range(2):  # the first one also prepares kernels and memory
        torch.manual_seed(0)
        began = time.perf_counter()
        nats, _ = objective.loss(model, batch)
        # Not backward(): nothing may be left behind in .grad, nor may the optimizer's hooks see these gradients.
        torch.autograd.grad(nats, weights, allow_unused=True)
        seconds = time.perf_counter() - began
    objective.row_nats(model, batch)
    model.train(was_training)
    return Probe(seconds / batch.num_tokens, peak_bytes(model.device))


def make_plan(
    model: PreTrainedModel,
    steps: Steps,
    *,
    num_rows: int,
    num_truncated: int,
    truncated: Sequence[str],
    probe: Probe,
) -> Plan:
    """The plan of a run over `steps`."""
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    num_trained = sum(weight.numel() for weight in trained)
    # Two moments and a gradient in fp32, and a master copy of what the model does not keep in fp32.
    num_copied = sum(weight.numel() for weight in trained if weight.dtype != torch.float32)
    return Plan(
        num_rows=num_rows,
        num_tokens=steps.num_tokens,
        num_supervised=steps.num_supervised,
        num_truncated=num_truncated,
        truncated=tuple(truncated),
        num_steps=len(steps),
        num_micro_batches=steps.num_micro_batches,
        num_trained_weights=num_trained,
        predicted_seconds=steps.num_tokens * probe.seconds_per_token,
        predicted_memory_bytes=probe.peak_bytes + 4 * (3 * num_trained + num_copied),
    )


def describe(plan: Plan) -> str:
    """The plan as a person reads it."""
    lines = [
        f"rows        {plan.num_rows:,}",
        f"tokens      {plan.num_tokens:,} over all epochs, {plan.num_supervised:,} targets to learn",
        f"steps       {plan.num_steps:,} of {plan.num_micro_batches / max(1, plan.num_steps):.1f} micro-batches",
        f"weights     {plan.num_trained_weights:,} trained",
        f"time        about {duration(plan.predicted_seconds)}",
        f"memory      about {size(plan.predicted_memory_bytes)}",
    ]
    if plan.truncated:
        more = f" and {plan.num_truncated - 10:,} more" if plan.num_truncated > 10 else ""
        lines.append(f"truncated   {plan.num_truncated:,} rows: {', '.join(plan.truncated[:10])}{more}")
    return "\n".join(lines)


def peak_bytes(device: torch.device) -> int:
    """The most memory that this process has held: of the GPU where it computes, else of the machine."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
