"""What a model in training is told to learn: how a batch becomes a loss, as data that the loop is given.

The loop, the plan and the scoring know nothing of words, classes or pairs of texts; they know this.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch

from setsail.base.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

# How far logits may be from a model's own, relative to the largest: a few roundings of the format.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 4e-2, torch.float16: 1e-2}


class Batch(Protocol):
    """One forward and backward pass worth of examples; what else it holds is between its packer and its objective."""

    @property
    def num_tokens(self) -> int: ...  # that are computed, padding left out

    @property
    def num_supervised(self) -> int: ...  # targets that give a loss

    @property
    def row_ids(self) -> Sequence[str]: ...


@dataclass(frozen=True)
class Objective:
    """One way to learn.

    `check(model)` raises ModelError where the model cannot be taught so. `loss(model, batch)` is the sum of nats over
    the batch's targets, ready for backward, and their number. `row_nats(model, batch)` is nats and number of targets
    for each example of the batch, in its order, without dropout and without gradients.
    """

    name: str
    check: Callable[[PreTrainedModel], None]
    loss: Callable[[PreTrainedModel, Any], tuple[Tensor, int]]
    row_nats: Callable[[PreTrainedModel, Any], list[tuple[float, int]]]


def refuse_other_logits(model: PreTrainedModel, ours: Tensor, own: Tensor) -> None:
    """Raises:
    ModelError: where our logits are not the model's own within rounding: our loss would not be its loss.
    """
    difference, largest = (ours - own).abs().max().item(), own.abs().max().item()
    if not difference <= TOLERANCE[own.dtype] * largest:
        raise ModelError(
            f"the logits of {type(model).__name__} differ by {difference:.3g} (of {largest:.3g}) from what training "
            "would compute: training it is not supported",
            hint="take a base of another family: ModernBERT or BERT to fill in, T5 to write spans",
        )
