"""Cut-out spans: an encoder reads a text with sentinels in their place, a decoder writes them; logits at real targets.

Batches are padded, not packed: T5 learns how to weigh distances between tokens, and what pads is masked out. The
invariant: which rows stand beside a row, and how far it is padded, change neither its loss nor any gradient beyond
rounding.

Legend: B pairs, S tokens read, T tokens written, R of them real, H hidden size, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from setsail.train.loss import IGNORED, evaluating, head_of, nats_of_each, sum_of_nats, summed
from setsail.train.objective import Objective, refuse_other_logits

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Pairs(Protocol):
    """Pairs of texts, padded at their ends; `targets` are what is written, IGNORED where padded."""

    @property
    def input_ids(self) -> np.ndarray: ...  # int[B, S]

    @property
    def input_mask(self) -> np.ndarray: ...  # bool[B, S]

    @property
    def targets(self) -> np.ndarray: ...  # int[B, T]


def span_loss(model: PreTrainedModel, batch: Pairs) -> tuple[Tensor, int]:
    """The sum of nats over what is written, ready for backward, and how many tokens that are."""
    states_RH, targets_R = _written_states(model, batch)
    return sum_of_nats(head_of(model), states_RH, targets_R), len(targets_R)


@torch.no_grad()
def span_row_nats(model: PreTrainedModel, batch: Pairs) -> list[tuple[float, int]]:
    """For each pair: nats over what is written, and how many tokens that are. No dropout, no gradient."""
    with evaluating(model):
        nats_R = nats_of_each(head_of(model), *_written_states(model, batch))
    return summed(nats_R, np.nonzero(batch.targets != IGNORED)[0], len(batch.targets))


@torch.no_grad()
def span_logits(model: PreTrainedModel, batch: Pairs) -> Tensor:
    """The logits [R, V] of what is written as the model's own forward gives them, a pair at a time."""
    found = []
    with evaluating(model):
        for ids, mask, targets in zip(batch.input_ids, batch.input_mask, batch.targets, strict=True):
            labels = torch.tensor(targets[targets != IGNORED], device=model.device)[None]
            found.append(model(input_ids=torch.tensor(ids[mask], device=model.device)[None], labels=labels).logits[0])
    return torch.cat(found)


@torch.no_grad()
def check_spans(model: PreTrainedModel) -> None:
    """Makes sure that padding and computing at real targets alone give the logits of the model's own forward.

    Raises:
        ModelError: a family that does more between its states and its logits.
    """
    batch = _Sample(model.config.vocab_size)
    with evaluating(model):
        ours = head_of(model)(_written_states(model, batch)[0])
    refuse_other_logits(model, ours, span_logits(model, batch))


def _written_states(model: PreTrainedModel, batch: Pairs) -> tuple[Tensor, Tensor]:
    """What stands before the output layer where a token is written [R, H], and those tokens [R]."""
    ids_BS, mask_BS, targets_BT = (
        torch.tensor(array, dtype=torch.long, device=model.device)
        for array in (batch.input_ids, batch.input_mask, batch.targets)
    )
    read_BSH = model.get_encoder()(input_ids=ids_BS, attention_mask=mask_BS).last_hidden_state
    # What is padded stands behind what is real, which does not look ahead: the decoder needs no mask of its own.
    states_BTH = model.get_decoder()(
        input_ids=_shifted(targets_BT, model.config.decoder_start_token_id),
        encoder_hidden_states=read_BSH,
        encoder_attention_mask=mask_BS,
        use_cache=False,
    ).last_hidden_state
    is_real_BT = targets_BT != IGNORED
    return states_BTH[is_real_BT] * _scale(model), targets_BT[is_real_BT]


def _shifted(targets_BT: Tensor, start_id: int) -> Tensor:
    """What the decoder has written before each target, beginning with `start_id`, which pads as well."""
    before_BT = targets_BT.roll(1, dims=1)
    before_BT[:, 0] = start_id
    return before_BT.masked_fill(before_BT == IGNORED, start_id)


def _scale(model: PreTrainedModel) -> float:
    """By what T5 multiplies the states before an output layer that is its embedding."""
    config = model.config
    is_scaled = getattr(config, "scale_decoder_outputs", config.model_type == "umt5" and config.tie_word_embeddings)
    return config.d_model**-0.5 if is_scaled else 1.0


class _Sample:
    """Two pairs of different lengths with ids spread over the vocabulary."""

    def __init__(self, vocabulary: int) -> None:
        ids = torch.linspace(0, vocabulary - 1, 12).long().numpy()
        self.input_ids = np.stack([ids[:6], ids[6:]])
        self.input_mask = np.array([[True] * 4 + [False] * 2, [True] * 6])
        self.targets = np.array([ids[:5], [*ids[7:10], IGNORED, IGNORED]])


SPANS = Objective("spans", check_spans, span_loss, span_row_nats)
