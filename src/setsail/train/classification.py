"""Telling documents apart, on packed rows: cross-entropy of each document's label, in nats.

The invariant: packing changes neither logits nor gradients beyond rounding; `check_packed` holds the packed row against
the model's own forward on a padded batch before anything is learned.

Legend: T tokens of the row, D documents, C classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from setsail.base.errors import ModelError
from setsail.models.classifier import packed_logits
from setsail.train.loss import evaluating
from setsail.train.objective import Objective

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# How far packed logits may be from padded ones, relative to the largest: roundings of either format through all layers.
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3, torch.bfloat16: 0.1}
CHECK_LENGTHS = (7, 2, 12, 5)


class LabelledRow(Protocol):
    """Whole documents one after the other, each with what it is: the index of its label."""

    @property
    def input_ids(self) -> np.ndarray: ...  # int[T]

    @property
    def document_starts(self) -> np.ndarray: ...  # int[D+1], first 0, last T

    @property
    def labels(self) -> np.ndarray: ...  # int[D]


def label_loss(model: PreTrainedModel, batch: LabelledRow) -> tuple[Tensor, int]:
    """The sum of nats over the documents' labels, ready for backward, and how many they are."""
    nats = cross_entropy(_logits(model, batch), _labels(model, batch), reduction="sum")
    return nats, len(batch.labels)


def row_nats(model: PreTrainedModel, batch: LabelledRow) -> list[tuple[float, int]]:
    """For each document the nats of its label, and 1. No dropout, no gradient."""
    nats_D = cross_entropy(document_logits(model, batch), _labels(model, batch), reduction="none")
    return [(nats, 1) for nats in nats_D.double().tolist()]


@torch.no_grad()
def document_logits(model: PreTrainedModel, batch: LabelledRow) -> Tensor:
    """Logits [D, C] of the documents in float32. No dropout, no gradient."""
    with evaluating(model):
        return _logits(model, batch)


@torch.no_grad()
def check_packed(model: PreTrainedModel) -> None:
    """Makes sure, on random documents, that packed logits are the model's own on a padded batch.

    Raises:
        ModelError: a family whose positions, attention or head packing does not get right.
    """
    longest, starts = max(CHECK_LENGTHS), np.cumsum((0, *CHECK_LENGTHS))
    generator = torch.Generator().manual_seed(0)
    padding = model.config.pad_token_id or 0
    ids = torch.randint(padding + 1, model.config.vocab_size, (len(CHECK_LENGTHS), longest), generator=generator)
    mask = torch.arange(longest)[None] < torch.tensor(CHECK_LENGTHS)[:, None]
    ids, mask = ids.to(model.device), mask.to(model.device)
    with evaluating(model):
        expected = model(input_ids=ids.masked_fill(~mask, padding), attention_mask=mask.long()).logits.float()
        ours = packed_logits(model, ids[mask], torch.tensor(starts, dtype=torch.int32))
    off = float((ours - expected).abs().max() / expected.abs().max())
    if not off <= TOLERANCE[model.dtype]:
        raise ModelError(
            f"packed documents come out otherwise than padded ones in a {type(model).__name__}: off by {off:.2g}",
            hint="take a base of another family: BERT, RoBERTa, XLM-RoBERTa, ModernBERT …",
        )


def _logits(model: PreTrainedModel, batch: LabelledRow) -> Tensor:
    ids_T = torch.tensor(batch.input_ids, dtype=torch.long, device=model.device)
    starts = torch.tensor(batch.document_starts, dtype=torch.int32)  # read on the host by every layer
    return packed_logits(model, ids_T, starts)


def _labels(model: PreTrainedModel, batch: LabelledRow) -> Tensor:
    return torch.tensor(batch.labels, dtype=torch.long, device=model.device)


CLASSIFICATION = Objective("classification", check_packed, label_loss, row_nats)
