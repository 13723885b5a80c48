"""Learning to find texts, on packed rows: each query's own text among all texts of the micro-batch, in nats.

Where pairs have scores instead, the cosines learn to order them: the nats of telling which of two pairs has the higher
score. The invariant: packing changes neither vectors nor gradients beyond rounding; `check_packed_vectors` holds the
packed row against the model's own forward on a padded batch before anything is learned.

Source: van den Oord et al. 2018, InfoNCE (arXiv 1807.03748); Burges et al. 2005, RankNet, for pairs with scores.
Legend: T tokens of the row, D documents, H hidden size, P pairs, C candidates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize, softplus

from setsail.base.errors import ModelError
from setsail.models.sentence_encoder import packed_vectors
from setsail.train.loss import evaluating
from setsail.train.objective import Objective
from setsail.train.reading import CHECK_LENGTHS, TOLERANCE

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Pairs(Protocol):
    """Which of D documents are queries and which candidates; the first P candidates are the right ones in order."""

    @property
    def queries(self) -> np.ndarray: ...  # int[P]

    @property
    def candidates(self) -> np.ndarray: ...  # int[C]

    @property
    def hidden(self) -> np.ndarray: ...  # bool[P, C], true for candidates that are no wrong answers

    @property
    def scores(self) -> np.ndarray | None: ...  # float[P]


class PairedRow(Pairs, Protocol):
    """The documents of pairs one after the other."""

    @property
    def input_ids(self) -> np.ndarray: ...  # int[T]

    @property
    def document_starts(self) -> np.ndarray: ...  # int[D+1], first 0, last T


def contrast(*, scale: float, symmetric: bool) -> Objective:
    """Cosines, `scale` times as large, compete for each query; where it is `symmetric`, for each text as well."""

    def nats_P(model: PreTrainedModel, batch: PairedRow) -> Tensor:
        vectors_DH = document_vectors(model, batch.input_ids, batch.document_starts)
        return pair_nats(vectors_DH, batch, scale=scale, symmetric=symmetric)

    def loss(model: PreTrainedModel, batch: PairedRow) -> tuple[Tensor, int]:
        return nats_P(model, batch).sum(), len(batch.queries)

    @torch.no_grad()
    def row_nats(model: PreTrainedModel, batch: PairedRow) -> list[tuple[float, int]]:
        with evaluating(model):
            return [(nats, 1) for nats in nats_P(model, batch).double().tolist()]

    return Objective("contrast", check_packed_vectors, loss, row_nats)


def document_vectors(model: PreTrainedModel, input_ids: np.ndarray, document_starts: np.ndarray) -> Tensor:
    """Vectors [D, H] of the documents of a packed row, of length one, in float32."""
    ids_T = torch.tensor(input_ids, dtype=torch.long, device=model.device)
    return packed_vectors(model, ids_T, torch.tensor(document_starts, dtype=torch.int32))  # starts are read on the host


def pair_nats(vectors_DH: Tensor, pairs: Pairs, *, scale: float, symmetric: bool) -> Tensor:
    """The nats [P] of each pair among these vectors."""
    device = vectors_DH.device
    if pairs.scores is not None:
        return _order_nats(pair_logits(vectors_DH, pairs, scale=scale), torch.tensor(pairs.scores, device=device))
    logits_PC = choice_logits(vectors_DH, pairs, scale=scale)
    num_pairs = len(logits_PC)
    right_P = torch.arange(num_pairs, device=device)
    nats_P = cross_entropy(logits_PC, right_P, reduction="none")
    if not symmetric:
        return nats_P
    back_P = cross_entropy(logits_PC[:, :num_pairs].T, right_P, reduction="none")
    return (nats_P + back_P) / 2


def pair_logits(vectors_DH: Tensor, pairs: Pairs, *, scale: float) -> Tensor:
    """Scaled cosines [P] of each pair's two texts."""
    query_PH, candidate_CH = _sides(vectors_DH, pairs)
    return scale * (query_PH * candidate_CH[: len(query_PH)]).sum(dim=1)


def choice_logits(vectors_DH: Tensor, pairs: Pairs, *, scale: float) -> Tensor:
    """Scaled cosines [P, C] of each query with all candidates; -inf for those that are no wrong answers."""
    query_PH, candidate_CH = _sides(vectors_DH, pairs)
    hidden_PC = torch.tensor(pairs.hidden, device=vectors_DH.device)
    return (scale * query_PH @ candidate_CH.T).masked_fill(hidden_PC, -torch.inf)


def _sides(vectors_DH: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
    chosen = (torch.tensor(indices, device=vectors_DH.device) for indices in (pairs.queries, pairs.candidates))
    query_PH, candidate_CH = (vectors_DH[index] for index in chosen)
    return query_PH, candidate_CH


def _order_nats(logits_P: Tensor, scores_P: Tensor) -> Tensor:
    """For each pair the mean nats of telling its order from those of another score; 0 where there are none."""
    signs_PP = torch.sign(scores_P[:, None] - scores_P[None]).to(logits_P.dtype)
    nats_PP = softplus(-signs_PP * (logits_P[:, None] - logits_P[None])) * signs_PP.abs()
    return nats_PP.sum(dim=1) / signs_PP.abs().sum(dim=1).clamp(min=1)


@torch.no_grad()
def check_packed_vectors(model: PreTrainedModel) -> None:
    """Makes sure, on random documents, that packed vectors are the means of the model's own states on a padded batch.

    Raises:
        ModelError: a family whose positions or attention packing does not get right.
    """
    longest, starts = max(CHECK_LENGTHS), np.cumsum((0, *CHECK_LENGTHS))
    generator = torch.Generator().manual_seed(0)
    padding = model.config.pad_token_id or 0
    ids = torch.randint(padding + 1, model.config.vocab_size, (len(CHECK_LENGTHS), longest), generator=generator)
    mask = torch.arange(longest)[None] < torch.tensor(CHECK_LENGTHS)[:, None]
    ids, mask = ids.to(model.device), mask.to(model.device)
    with evaluating(model):
        states = model(input_ids=ids.masked_fill(~mask, padding), attention_mask=mask.long()).last_hidden_state.float()
        ours = document_vectors(model, ids[mask].cpu().numpy(), starts)
    mask_ND1 = mask[..., None].float()
    expected = normalize((states * mask_ND1).sum(dim=1) / mask_ND1.sum(dim=1), dim=-1)
    off = float((ours - expected).abs().max() / expected.abs().max())
    if not off <= TOLERANCE[model.dtype]:
        raise ModelError(
            f"packed texts come out otherwise than padded ones in a {type(model).__name__}: off by {off:.2g}",
            hint="take a base of another family: BERT, RoBERTa, XLM-RoBERTa, ModernBERT …",
        )
