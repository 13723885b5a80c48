"""Saying something of documents, on packed rows: what a label, several, a score, tags or a span cost, in nats.

The invariant: packing changes neither logits nor gradients beyond rounding; `check_packed` holds the packed row against
the model's own forward on a padded batch before anything is learned.

Legend: T tokens of the row, D documents, C figures of the head, L tokens of the longest document.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torch.nn.utils.rnn import pad_sequence

from setsail.base.errors import ModelError
from setsail.models.reader import logits_of_states, own_logits, packed_logits, packed_states, says_of_tokens
from setsail.train.loss import evaluating
from setsail.train.objective import Objective

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# How far packed logits may be from padded ones, relative to the largest: roundings of either format through all layers.
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3, torch.bfloat16: 0.1}
CHECK_LENGTHS = (7, 2, 12, 5)
NOWHERE = -100  # a token of which nothing is said


class ReadRow(Protocol):
    """Whole documents one after the other, each with what is to be said of it, or of each of its tokens."""

    @property
    def input_ids(self) -> np.ndarray: ...  # int[T]

    @property
    def document_starts(self) -> np.ndarray: ...  # int[D+1], first 0, last T

    @property
    def targets(self) -> np.ndarray: ...  # [D], [D, C], [D, 2] or [T]

    @property
    def in_last(self) -> np.ndarray: ...  # bool[T], tokens of the last text

    @property
    def types(self) -> np.ndarray | None: ...  # int[T], segments

    @property
    def num_supervised(self) -> int: ...


# Logits and a row to the nats of each document [D] and how many targets they are of.
Price = Callable[[Tensor, ReadRow], tuple[Tensor, list[int]]]


def _one_label(logits_DC: Tensor, row: ReadRow) -> tuple[Tensor, list[int]]:
    return cross_entropy(logits_DC, _targets(row, logits_DC), reduction="none"), [1] * len(logits_DC)


def _labels(logits_DC: Tensor, row: ReadRow) -> tuple[Tensor, list[int]]:
    """Each label is a question of its own, yes or no."""
    asked_DC = binary_cross_entropy_with_logits(logits_DC, _targets(row, logits_DC).float(), reduction="none")
    return asked_DC.sum(dim=1), [1] * len(logits_DC)


def _score(logits_DC: Tensor, row: ReadRow) -> tuple[Tensor, list[int]]:
    """Half the squared error: the nats of a normal distribution of variance 1, up to a constant."""
    return 0.5 * (logits_DC[:, 0] - _targets(row, logits_DC).float()) ** 2, [1] * len(logits_DC)


def _tags(logits_TC: Tensor, row: ReadRow) -> tuple[Tensor, list[int]]:
    nats_T = cross_entropy(logits_TC, _targets(row, logits_TC), reduction="none", ignore_index=NOWHERE)
    counts = [int((part != NOWHERE).sum()) for part in np.split(row.targets, row.document_starts[1:-1])]
    return torch.stack([nats.sum() for nats in _by_document(nats_T, row)]), counts


def _span(logits_T2: Tensor, row: ReadRow) -> tuple[Tensor, list[int]]:
    nats_D2 = cross_entropy(span_choices(logits_T2, row), _targets(row, logits_T2), reduction="none")
    return nats_D2.sum(dim=1), [1] * len(nats_D2)


def span_choices(logits_T2: Tensor, row: ReadRow, *, never: float = float("-inf")) -> Tensor:
    """Logits [D, L, 2] of start and end: each is chosen among the tokens of the last text and the first, which stands
    for none; all others are `never` chosen."""
    allowed_T = torch.tensor(row.in_last, device=logits_T2.device)
    allowed_T[row.document_starts[:-1].tolist()] = True
    open_T2 = logits_T2.masked_fill(~allowed_T[:, None], never)
    return pad_sequence(list(_by_document(open_T2, row)), batch_first=True, padding_value=never)


def _by_document(values: Tensor, row: ReadRow) -> tuple[Tensor, ...]:
    return values.split(np.diff(row.document_starts).tolist())


def _targets(row: ReadRow, like: Tensor) -> Tensor:
    return torch.tensor(row.targets, device=like.device)


@torch.no_grad()
def logits_of(model: PreTrainedModel, row: ReadRow) -> list[Tensor]:
    """Logits of each document in float32: [C], or [its tokens, C] where tokens are told of. No dropout."""
    with evaluating(model):
        logits = row_logits(model, row)
    return list(_by_document(logits, row) if says_of_tokens(model) else logits.unbind())


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
    types = (torch.arange(longest)[None] > 1).long().expand_as(ids)
    ids, mask, types = (each.to(model.device) for each in (ids, mask, types))
    typed = {"token_type_ids": types} if getattr(model.config, "type_vocab_size", 0) > 1 else {}
    with evaluating(model):
        own = model(input_ids=ids.masked_fill(~mask, padding), attention_mask=mask.long(), **typed)
        expected = own_logits(own).float()
        expected = expected[mask] if says_of_tokens(model) else expected
        ours = packed_logits(model, ids[mask], torch.tensor(starts, dtype=torch.int32), types[mask])
    off = float((ours - expected).abs().max() / expected.abs().max())
    if not off <= TOLERANCE[model.dtype]:
        raise ModelError(
            f"packed documents come out otherwise than padded ones in a {type(model).__name__}: off by {off:.2g}",
            hint="take a base of another family: BERT, RoBERTa, XLM-RoBERTa, ModernBERT …",
        )


def row_logits(model: PreTrainedModel, row: ReadRow) -> Tensor:
    """Logits in float32 of a packed row: [D, C] of its documents, or [T, C] where tokens are told of."""
    return logits_on(model, row_states(model, row), row)


def logits_on(model: PreTrainedModel, hidden_TH: Tensor, row: ReadRow) -> Tensor:
    """The same, of the row's last hidden states."""
    return logits_of_states(model, hidden_TH, _starts(row))


def row_states(model: PreTrainedModel, row: ReadRow) -> Tensor:
    """The last hidden states [T, H] of a packed row."""
    ids_T = torch.tensor(row.input_ids, dtype=torch.long, device=model.device)
    types_T = None if row.types is None else torch.tensor(row.types, dtype=torch.long, device=model.device)
    return packed_states(model, ids_T, _starts(row), types_T)


def _starts(row: ReadRow) -> Tensor:
    return torch.tensor(row.document_starts, dtype=torch.int32)  # read on the host by every layer


def _objective(name: str, price: Price) -> Objective:
    def loss(model: PreTrainedModel, row: ReadRow) -> tuple[Tensor, int]:
        nats_D, _ = price(row_logits(model, row), row)
        return nats_D.sum(), row.num_supervised

    @torch.no_grad()
    def row_nats(model: PreTrainedModel, row: ReadRow) -> list[tuple[float, int]]:
        with evaluating(model):
            nats_D, counts = price(row_logits(model, row), row)
        return list(zip(nats_D.double().tolist(), counts, strict=True))

    return Objective(name, check_packed, loss, row_nats)


# By what is said: one of several labels, any of them, a score, a tag of every token, where a part starts and ends.
PRICES: Mapping[str, Price] = {
    "one_label": _one_label,
    "labels": _labels,
    "score": _score,
    "tags": _tags,
    "span": _span,
}
OBJECTIVES: Mapping[str, Objective] = {name: _objective(name, price) for name, price in PRICES.items()}
