"""Learning how well a text answers a query, on packed rows: cross-entropy of each pair's grade from 0 to 1, in nats.

A grade between the two ends is a share: half the cross-entropy of yes and half of no. The invariant is that of
`classification.py`, token types included: a packed row gives the model's own logits on a padded batch.

Legend: T tokens of the row, D documents, each a pair of texts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from setsail.base.errors import ModelError
from setsail.models.reader import has_token_types, packed_logits
from setsail.train.loss import evaluating
from setsail.train.objective import Objective
from setsail.train.reading import CHECK_LENGTHS, TOLERANCE

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TypedRow(Protocol):
    """Documents one after the other, with the type of each token."""

    @property
    def input_ids(self) -> np.ndarray: ...  # int[T]

    @property
    def token_types(self) -> np.ndarray: ...  # int[T]

    @property
    def document_starts(self) -> np.ndarray: ...  # int[D+1], first 0, last T


class GradedRow(TypedRow, Protocol):
    """Pairs of texts one after the other, each with its grade."""

    @property
    def grades(self) -> np.ndarray: ...  # float[D], from 0 to 1


def grade_loss(model: PreTrainedModel, batch: GradedRow) -> tuple[Tensor, int]:
    """The sum of nats over the pairs' grades, ready for backward, and how many they are."""
    return grade_nats(packed_grades(model, batch), batch).sum(), len(batch.grades)


@torch.no_grad()
def row_nats(model: PreTrainedModel, batch: GradedRow) -> list[tuple[float, int]]:
    """For each pair the nats of its grade, and 1. No dropout, no gradient."""
    with evaluating(model):
        return [(nats, 1) for nats in grade_nats(packed_grades(model, batch), batch).double().tolist()]


@torch.no_grad()
def pair_logits(model: PreTrainedModel, batch: TypedRow) -> Tensor:
    """Logits [D] of the pairs in float32. No dropout, no gradient."""
    with evaluating(model):
        return packed_grades(model, batch)


@torch.no_grad()
def check_packed_pairs(model: PreTrainedModel) -> None:
    """Makes sure, on random pairs, that packed logits are the model's own on a padded batch.

    Raises:
        ModelError: a family whose positions, token types or head packing does not get right.
    """
    longest, starts = max(CHECK_LENGTHS), np.cumsum((0, *CHECK_LENGTHS))
    generator = torch.Generator().manual_seed(0)
    padding = model.config.pad_token_id or 0
    ids = torch.randint(padding + 1, model.config.vocab_size, (len(CHECK_LENGTHS), longest), generator=generator)
    mask = torch.arange(longest)[None] < torch.tensor(CHECK_LENGTHS)[:, None]
    types = (torch.arange(longest)[None] >= torch.tensor(CHECK_LENGTHS)[:, None] // 2).long() * mask
    ids, mask, types = ids.to(model.device), mask.to(model.device), types.to(model.device)
    typed = {"token_type_ids": types} if has_token_types(model) else {}
    with evaluating(model):
        padded = ids.masked_fill(~mask, padding)
        expected = model(input_ids=padded, attention_mask=mask.long(), **typed).logits[:, 0].float()
        ours = packed_logits(model, ids[mask], torch.tensor(starts, dtype=torch.int32), types[mask])[:, 0]
    off = float((ours - expected).abs().max() / expected.abs().max())
    if not off <= TOLERANCE[model.dtype]:
        raise ModelError(
            f"packed pairs come out otherwise than padded ones in a {type(model).__name__}: off by {off:.2g}",
            hint="take a base of another family: BERT, RoBERTa, XLM-RoBERTa, ModernBERT …",
        )


def packed_grades(model: PreTrainedModel, batch: TypedRow) -> Tensor:
    """Logits [D] of the pairs in float32."""
    ids_T, types_T = (
        torch.tensor(values, dtype=torch.long, device=model.device) for values in (batch.input_ids, batch.token_types)
    )
    starts = torch.tensor(batch.document_starts, dtype=torch.int32)  # read on the host by every layer
    return packed_logits(model, ids_T, starts, types_T)[:, 0]


def grade_nats(logits_D: Tensor, batch: GradedRow) -> Tensor:
    """The nats [D] of each pair's grade."""
    grades_D = torch.tensor(batch.grades, dtype=torch.float32, device=logits_D.device)
    return binary_cross_entropy_with_logits(logits_D, grades_D, reduction="none")


GRADES = Objective("grades", check_packed_pairs, grade_loss, row_nats)
