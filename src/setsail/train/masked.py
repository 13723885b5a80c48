"""Masked tokens: a model that looks both ways fills in what was hidden; logits only where a token was.

What is hidden was decided by whoever made the batch; targets stand at their own place, nothing is shifted. The
invariant is that of next-token loss: packing and chunking change neither the loss nor any gradient beyond rounding.

Legend: T tokens of the row, S hidden ones, H hidden size, V vocabulary.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from setsail.base.errors import ModelError, did_you_mean
from setsail.train.loss import IGNORED, PackedRow, by_document, evaluating, head_of, nats_of_each, sum_of_nats
from setsail.train.objective import Objective, refuse_other_logits

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# What stands between a family's states and its output layer. It is computed at hidden tokens only.
TRANSFORMS = {"bert": "cls.predictions.transform", "modernbert": "head"}


def masked_loss(model: PreTrainedModel, batch: PackedRow) -> tuple[Tensor, int]:
    """The sum of nats over the hidden tokens, ready for backward, and how many they are."""
    states_SH, targets_S = _hidden_states(model, batch)
    return sum_of_nats(head_of(model), states_SH, targets_S), len(targets_S)


@torch.no_grad()
def masked_row_nats(model: PreTrainedModel, batch: PackedRow) -> list[tuple[float, int]]:
    """For each document: nats over its hidden tokens, and how many they are. No dropout, no gradient."""
    with evaluating(model):
        nats_S = nats_of_each(head_of(model), *_hidden_states(model, batch))
    return by_document(nats_S, batch)


@torch.no_grad()
def masked_logits(model: PreTrainedModel, batch: PackedRow) -> Tensor:
    """The logits [S, V] at the hidden tokens as the model's own forward gives them, a document at a time."""
    found = []
    with evaluating(model):
        for start, end in pairwise(batch.document_starts.tolist()):
            ids, targets = (torch.tensor(array[start:end]) for array in (batch.input_ids, batch.targets))
            logits = model(input_ids=ids[None].to(model.device)).logits[0]
            found.append(logits[(targets != IGNORED).to(model.device)])
    return torch.cat(found)


@torch.no_grad()
def check_masked(model: PreTrainedModel) -> None:
    """Makes sure that packing and computing at hidden tokens alone give the logits of the model's own forward.

    Raises:
        ModelError: a family that does more between its states and its logits, or counts positions otherwise.
    """
    family = model.config.model_type
    if family not in TRANSFORMS:
        hint = did_you_mean(family, TRANSFORMS)
        raise ModelError(f'training a masked "{family}" model is not supported', place="base", hint=hint)
    batch = _Sample(model.config.vocab_size)
    with evaluating(model):
        ours = head_of(model)(_hidden_states(model, batch)[0])
    refuse_other_logits(model, ours, masked_logits(model, batch))


def _hidden_states(model: PreTrainedModel, batch: PackedRow) -> tuple[Tensor, Tensor]:
    """What stands before the output layer at the hidden tokens [S, H], and their targets [S]."""
    ids_T, positions_T, targets_T = (
        torch.tensor(array, dtype=torch.long, device=model.device)
        for array in (batch.input_ids, batch.positions, batch.targets)
    )
    states_TH = model.base_model(
        input_ids=ids_T[None],
        position_ids=positions_T[None],
        document_starts=torch.tensor(batch.document_starts, dtype=torch.int32),  # read on the host by every layer
    ).last_hidden_state[0]
    places_S = (targets_T != IGNORED).nonzero()[:, 0]
    transform = model.get_submodule(TRANSFORMS[model.config.model_type])
    return transform(states_TH.index_select(0, places_S)), targets_T[places_S]


class _Sample:
    """Two documents with ids spread over the vocabulary, every token a target."""

    def __init__(self, vocabulary: int) -> None:
        self.input_ids = self.targets = torch.linspace(0, vocabulary - 1, 12).long().numpy()
        self.positions = torch.tensor([*range(5), *range(7)]).numpy()
        self.document_starts = torch.tensor([0, 5, 12], dtype=torch.int32).numpy()


MASKED = Objective("masked", check_masked, masked_loss, masked_row_nats)
