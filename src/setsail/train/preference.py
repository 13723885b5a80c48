"""Preferring one answer to another, on packed rows: direct preference optimisation, in nats per pair.

For a prompt x with the chosen answer c and the rejected answer r, the loss of a pair is

    -log sigmoid(beta * ((log p(c|x) - log p(r|x)) - (log q(c|x) - log q(r|x)))) + sft * -log p(c|x) / |c|

where p is the model in training, q the base, and log p(c|x) the sum over the answer's tokens, its stop token included.
What q says of a pair was found out once, before training, and comes with the batch: no second model is held. The
invariant: packing changes neither the loss nor any gradient beyond rounding.

Source: Rafailov et al. 2023, "Direct Preference Optimization" (arXiv 2305.18290), equation 7; the last term is that of
Pang et al. 2024 (arXiv 2404.19733).

Legend: T tokens of the row, S supervised ones, P pairs, D = 2P documents.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from setsail.train.loss import IGNORED, PackedRow, check_head, evaluating, supervised_nats
from setsail.train.objective import Objective

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class PackedPairs(PackedRow, Protocol):
    """A packed row of pairs: the document with the chosen answer, then that with the rejected one, and so on."""

    @property
    def reference_P(self) -> np.ndarray: ...  # float[P], by how many nats the base prefers the chosen answer


def preference(*, beta: float, sft: float = 0.0) -> Objective:
    """The objective of preferring chosen answers."""
    pair_nats = partial(_pair_nats, beta=beta, sft=sft)
    return Objective("preference", check_head, partial(_loss, pair_nats), partial(_row_nats, pair_nats))


@torch.no_grad()
def margins(model: PreTrainedModel, batch: PackedPairs) -> np.ndarray:
    """By how many nats the model prefers each pair's chosen answer: in all, and per token. No dropout, no gradient.

    Shapes: float64[P, 2].
    """
    with evaluating(model):
        nats_P2, lengths_P2 = _answer_nats(model, batch)
    preferred = [nats[:, 1] - nats[:, 0] for nats in (nats_P2, nats_P2 / lengths_P2)]
    return torch.stack(preferred, dim=1).cpu().numpy()


def preference_nats(margins_P: np.ndarray, reference_P: np.ndarray, *, beta: float) -> np.ndarray:
    """What pairs of these margins cost without the term of `sft`, float64[P]."""
    return np.logaddexp(0.0, -beta * (margins_P - reference_P))


PairNats = Callable[["PreTrainedModel", PackedPairs], Tensor]


def _loss(pair_nats: PairNats, model: PreTrainedModel, batch: PackedPairs) -> tuple[Tensor, int]:
    """The sum over the pairs, ready for backward, and how many they are."""
    nats_P = pair_nats(model, batch)
    return nats_P.sum(), len(nats_P)


@torch.no_grad()
def _row_nats(pair_nats: PairNats, model: PreTrainedModel, batch: PackedPairs) -> list[tuple[float, int]]:
    """For each pair its loss, and 1. No dropout, no gradient."""
    with evaluating(model):
        return [(nats, 1) for nats in pair_nats(model, batch).tolist()]


def _pair_nats(model: PreTrainedModel, batch: PackedPairs, *, beta: float, sft: float) -> Tensor:
    nats_P2, lengths_P2 = _answer_nats(model, batch)
    reference_P = torch.tensor(batch.reference_P, device=nats_P2.device)
    nats_P = softplus(-beta * (nats_P2[:, 1] - nats_P2[:, 0] - reference_P))
    return nats_P if sft == 0 else nats_P + sft * nats_P2[:, 0] / lengths_P2[:, 0]


def _answer_nats(model: PreTrainedModel, batch: PackedPairs) -> tuple[Tensor, Tensor]:
    """What the model pays for both answers of each pair, float64[P, 2], and their lengths in tokens."""
    nats_S = supervised_nats(model, batch)
    places_S = np.flatnonzero(batch.targets != IGNORED)
    counts_D = np.diff(np.searchsorted(places_S, batch.document_starts)).tolist()
    # One sum after the other: adding into places would not always add in the same order on a GPU.
    nats_D = torch.stack([nats.sum() for nats in nats_S.double().split(counts_D)])
    return nats_D.view(-1, 2), torch.tensor(counts_D, device=nats_D.device).view(-1, 2)
