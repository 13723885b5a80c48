"""The loss in nats, of a packed row of a decoder or of any states: logits only where a token is supervised, never all.

The invariant: chunking changes neither the loss nor any gradient beyond rounding. What a token's target is was decided
by whoever packed the row; nothing is shifted here.

Legend: T tokens of the row, S supervised ones, D documents, H hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from setsail.base.errors import ModelError
from setsail.models.kernels import functions as kernels
from setsail.train.objective import Objective

if TYPE_CHECKING:
    from transformers import PreTrainedModel

IGNORED = -100  # the target of a token that is not supervised
LOGITS_PER_CHUNK = 2**24  # 64 MiB in fp32


class PackedRow(Protocol):
    """A packed row: documents one after the other, each with positions from 0; `targets` are already shifted."""

    @property
    def input_ids(self) -> np.ndarray: ...  # int[T]

    @property
    def positions(self) -> np.ndarray: ...  # int[T]

    @property
    def document_starts(self) -> np.ndarray: ...  # int[D+1], first 0, last T

    @property
    def targets(self) -> np.ndarray: ...  # int[T], IGNORED where not supervised


def supervised_loss(model: PreTrainedModel, batch: PackedRow) -> tuple[Tensor, int]:
    """The sum of nats over the supervised tokens, ready for backward, and how many they are."""
    hidden_SH, targets_S = supervised_states(model, batch)
    return sum_of_nats(head_of(model), hidden_SH, targets_S), len(targets_S)


def supervised_nats(model: PreTrainedModel, batch: PackedRow) -> Tensor:
    """The nats of each supervised token, float[S], ready for any loss that is made of them and its backward."""
    head = head_of(model)
    weights = [weight for weight in head.parameters() if weight.requires_grad]
    return _NatsOfEach.apply(head, *supervised_states(model, batch), *weights)


@torch.no_grad()
def row_nats(model: PreTrainedModel, batch: PackedRow) -> list[tuple[float, int]]:
    """For each document of the row: nats over its supervised tokens, and how many they are. No dropout, no gradient."""
    with evaluating(model):
        nats_S = nats_of_each(head_of(model), *supervised_states(model, batch))
    return by_document(nats_S, batch)


def sum_of_nats(head: nn.Module, hidden_SH: Tensor, targets_S: Tensor) -> Tensor:
    """The sum of nats of the targets under the head's logits, ready for backward; chunk by chunk."""
    weights = [weight for weight in head.parameters() if weight.requires_grad]
    return _ChunkedNats.apply(head, hidden_SH, targets_S, *weights)


def nats_of_each(head: nn.Module, hidden_SH: Tensor, targets_S: Tensor) -> np.ndarray:
    """The nats of each target, float[S]; chunk by chunk, without gradient."""
    return _nats_by_chunk(head, hidden_SH, targets_S).double().cpu().numpy()


def _nats_by_chunk(head: nn.Module, hidden_SH: Tensor, targets_S: Tensor) -> Tensor:
    chunks = [
        cross_entropy(at_least_fp32(head(hidden)), targets, reduction="none")
        for hidden, targets in _chunks(hidden_SH, targets_S, head)
    ]
    return torch.cat(chunks)


def by_document(nats_S: np.ndarray, batch: PackedRow) -> list[tuple[float, int]]:
    """The nats of a packed row's targets summed by document, and how many targets each has."""
    places_S = np.flatnonzero(batch.targets != IGNORED)
    document_S = np.searchsorted(batch.document_starts, places_S, side="right") - 1
    return summed(nats_S, document_S, len(batch.document_starts) - 1)


def summed(nats_S: np.ndarray, row_S: np.ndarray, num_rows: int) -> list[tuple[float, int]]:
    """The nats of targets summed by the row in which each stands, and how many targets each row has."""
    nats_D = np.bincount(row_S, weights=nats_S, minlength=num_rows)
    count_D = np.bincount(row_S, minlength=num_rows)
    return [(float(nats), int(count)) for nats, count in zip(nats_D, count_D, strict=True)]


@torch.no_grad()
def check_head(model: PreTrainedModel) -> None:
    """Makes sure that logits are the head applied to the decoder's output, and nothing after it.

    Raises:
        ModelError: a family that scales or soft-caps its logits: the loss of this room would not be its loss.
    """
    spread = torch.linspace(0, model.config.get_text_config().vocab_size - 1, 8, device=model.device)
    ids = spread.long()[None]  # several, since a padding token may be embedded as zeros
    with evaluating(model):
        expected = model(input_ids=ids, use_cache=False).logits
        ours = head_of(model)(model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state)
    if not torch.equal(expected, ours):
        raise ModelError(
            f"{type(model).__name__} changes its logits after the output layer; training it is not supported",
            hint="take a base of another family: Llama, Qwen, Mistral, SmolLM, Phi, OLMo …",
        )


def supervised_states(model: PreTrainedModel, batch: PackedRow) -> tuple[Tensor, Tensor]:
    """What stands before the output layer at the supervised tokens [S, H], and their targets [S]."""
    device = model.device
    ids_T, positions_T, targets_T = (
        torch.tensor(array, dtype=torch.long, device=device)
        for array in (batch.input_ids, batch.positions, batch.targets)
    )
    hidden_TH = model.get_decoder()(
        input_ids=ids_T[None],
        position_ids=positions_T[None],
        document_starts=torch.tensor(batch.document_starts, dtype=torch.int32),  # read on the host by every layer
        use_cache=False,
    ).last_hidden_state[0]
    places_S = (targets_T != IGNORED).nonzero()[:, 0]
    return hidden_TH.index_select(0, places_S), targets_T[places_S]


class _ChunkedNats(torch.autograd.Function):
    """Cross-entropy through any output layer, chunk by chunk; gradients are made on the way forward, then scaled.

    Source: the idea of Hsu et al. 2024, "Liger Kernel" (arXiv 2410.10989), for an arbitrary head module.
    """

    @staticmethod
    def forward(ctx, head: nn.Module, hidden_SH: Tensor, targets_S: Tensor, *weights: Tensor) -> Tensor:
        nats = hidden_SH.new_zeros((), dtype=at_least_fp32(hidden_SH[:0]).dtype)
        grad_SH = torch.empty_like(hidden_SH)
        sums = [torch.zeros_like(weight, dtype=nats.dtype) for weight in weights]
        done = 0
        for hidden, targets in _chunks(hidden_SH, targets_S, head):
            chunk_nats, grads = _nats_and_gradients(head, hidden, targets, weights)
            nats += chunk_nats
            grad_SH[done : done + len(hidden)] = grads[0]
            for total, grad in zip(sums, grads[1:], strict=True):
                kernels.add_(total, grad)
            done += len(hidden)
        ctx.save_for_backward(grad_SH, *(total.to(weight.dtype) for total, weight in zip(sums, weights, strict=True)))
        return nats

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        scaled = [grad * grad_outputs[0].to(grad.dtype) for grad in ctx.saved_tensors]
        return None, scaled[0], None, *scaled[1:]


class _NatsOfEach(torch.autograd.Function):
    """Cross-entropy of each target through any output layer; logits are made anew, chunk by chunk, on the way back.

    A loss of several targets together says only on the way back how much each of them weighs.
    """

    @staticmethod
    def forward(ctx, head: nn.Module, hidden_SH: Tensor, targets_S: Tensor, *weights: Tensor) -> Tensor:
        ctx.head = head
        ctx.save_for_backward(hidden_SH, targets_S, *weights)
        return _nats_by_chunk(head, hidden_SH, targets_S)

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        hidden_SH, targets_S, *weights = ctx.saved_tensors
        grad_SH = torch.empty_like(hidden_SH)
        sums = [torch.zeros_like(weight, dtype=grad_outputs[0].dtype) for weight in weights]
        done = 0
        for hidden, targets in _chunks(hidden_SH, targets_S, ctx.head):
            share = grad_outputs[0][done : done + len(hidden)]
            _, grads = _nats_and_gradients(ctx.head, hidden, targets, tuple(weights), share)
            grad_SH[done : done + len(hidden)] = grads[0]
            for total, grad in zip(sums, grads[1:], strict=True):
                kernels.add_(total, grad)
            done += len(hidden)
        return None, grad_SH, None, *(total.to(weight.dtype) for total, weight in zip(sums, weights, strict=True))


def _nats_and_gradients(
    head: nn.Module, hidden: Tensor, targets: Tensor, weights: tuple[Tensor, ...], share: Tensor | None = None
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The nats of one chunk, and their gradient by its hidden states and by the head's weights.

    `share` is what each target weighs in the gradient, where that is not 1.
    """
    if type(head) is nn.Linear and kernels.can_compute(head.weight):
        logits = linear(hidden, head.weight, head.bias)
        nats = kernels.cross_entropy_(logits, targets)  # and the logits are their own gradient now
        if share is not None:
            logits.mul_(share[:, None])
        grads = (logits.t() @ hidden if weight is head.weight else logits.sum(dim=0) for weight in weights)
        return nats.sum(), (logits @ head.weight, *grads)
    with torch.enable_grad():
        hidden = hidden.detach().requires_grad_()
        output = head(hidden)
    logits = at_least_fp32(output.detach())
    if logits.data_ptr() == output.data_ptr():
        logits = logits.clone()  # every line below works in place: one pass of exp, no second copy
    shifted = logits.sub_(logits.amax(dim=1, keepdim=True))
    target_logits = shifted.gather(1, targets[:, None])
    exponentials = shifted.exp_()
    sums = exponentials.sum(dim=1, keepdim=True)
    nats = (sums.log() - target_logits).sum()
    gradient = exponentials.div_(sums)  # softmax, and minus one at the target
    gradient.scatter_add_(1, targets[:, None], torch.full_like(target_logits, -1.0))
    if share is not None:
        gradient.mul_(share[:, None])
    return nats, torch.autograd.grad(output, [hidden, *weights], gradient.to(output.dtype))


def _chunks(hidden_SH: Tensor, targets_S: Tensor, head: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    rows = chunk_rows(head)
    return zip(hidden_SH.split(rows), targets_S.split(rows), strict=True)


def chunk_rows(head: nn.Module) -> int:
    """How many states go through an output layer at once."""
    return max(16, LOGITS_PER_CHUNK // getattr(head, "out_features", 2**16))


def head_of(model: PreTrainedModel) -> nn.Module:
    """The output layer, from states to logits."""
    head = model.get_output_embeddings()
    assert isinstance(head, nn.Module), "a language model has an output layer"
    return head


def at_least_fp32(logits: Tensor) -> Tensor:
    """The logits in fp32, where they are not in fp64."""
    return logits if logits.dtype == torch.float64 else logits.float()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode, and afterwards in the mode that it was in."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


NEXT_TOKEN = Objective("next_token", check_head, supervised_loss, row_nats)
