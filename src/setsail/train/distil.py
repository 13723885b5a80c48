"""Learning from a teacher: a loss on the ordinary loop, in nats, of what a larger model says at the same places.

    loss = (1 - weight) · own + weight · T² · KL(teacher ‖ student) + hidden · (1 - cos(teacher, student))

at each supervised token or document, with both models' logits divided by the temperature T. T² keeps the gradient of
the second part as large as at 1. A score is the mean of a normal distribution of variance T², of which T cancels. Of
vectors the cosines with the texts beside are compared, so that a student's may have another length. The third part is
of the last hidden states: of the token, or the mean over those of a document. The invariants:
chunking changes neither the loss nor any gradient beyond rounding, the teacher is never trained, and `row_nats` is the
student's own loss, so that validation compares it with a student of no teacher.

Source: Hinton et al. 2015, "Distilling the Knowledge in a Neural Network" (arXiv 1503.02531); the third part Sanh et
al. 2019, DistilBERT (arXiv 1910.01108).

Legend: S supervised tokens, H and K hidden sizes of student and teacher, D documents, C figures of a head.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, kl_div, log_softmax, logsigmoid, sigmoid

from setsail.models.reader import document_means
from setsail.train.contrast import PairedRow, choice_logits, document_vectors, pair_logits, pair_nats
from setsail.train.grades import GradedRow, grade_nats, packed_grades
from setsail.train.loss import at_least_fp32, chunk_rows, head_of, supervised_states
from setsail.train.objective import Objective
from setsail.train.reading import NOWHERE, PRICES, ReadRow, logits_on, row_states, span_choices

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_NEVER = -1e9  # a logit whose share is 0, and whose difference from itself is no NaN
NUM_TIMED = 2  # passes of the teacher that are timed; the plan's probe makes as many


class Teacher:
    """A frozen model in evaluation mode. `seconds_per_token` is what its last timed pass took."""

    def __init__(self, model: PreTrainedModel, *, mean: float = 0.0, scale: float = 1.0) -> None:
        self.model = model.eval().requires_grad_(False)
        self.mean, self.scale = mean, scale  # of the scores that its student is taught, in the teacher's own unit
        self.seconds_per_token = 0.0
        self._num_timed = 0

    @torch.no_grad()
    def say(self, what: Callable[[Any, Any], Tensor], batch: Any) -> Tensor:
        """What is made of a batch by the teacher, without gradient."""
        if self._num_timed == NUM_TIMED:
            return what(self.model, batch)
        began = time.perf_counter()
        said = what(self.model, batch)
        said.sum().item()  # a GPU is asked for the figure, so that it has been made
        self.seconds_per_token = (time.perf_counter() - began) / batch.num_tokens
        self._num_timed += 1
        return said


@dataclass(frozen=True)
class Mix:
    """How much the teacher's words count and at what temperature, and how much its hidden states."""

    weight: float
    temperature: float
    hidden: float = 0.0


def distilled_words(own: Objective, teacher: Teacher, mix: Mix) -> Objective:
    """The objective of a decoder that learns its rows' next tokens and what the teacher thinks of each."""

    def loss(model: PreTrainedModel, batch: Any) -> tuple[Tensor, int]:
        hidden_SH, targets_S = supervised_states(model, batch)
        taught_SK = teacher.say(lambda model, batch: supervised_states(model, batch)[0], batch)
        heads = head_of(model), head_of(teacher.model)
        weights = [weight for weight in heads[0].parameters() if weight.requires_grad]
        nats = _ChunkedMix.apply(heads, mix, hidden_SH, taught_SK, targets_S, *weights)
        if mix.hidden:
            nats = nats + mix.hidden * _directions_apart(hidden_SH, taught_SK).sum()
        return nats, len(targets_S)

    return replace(own, name=f"{own.name}, distilled", loss=loss)


def _directions_apart(said_SH: Tensor, taught_SH: Tensor) -> Tensor:
    """One minus the cosine of each two states, [S]."""
    return 1 - cosine_similarity(at_least_fp32(said_SH), at_least_fp32(taught_SH), dim=1)


class _ChunkedMix(torch.autograd.Function):
    """The mixed loss through any two output layers, chunk by chunk; gradients are made on the way forward."""

    @staticmethod
    def forward(
        ctx,
        heads: tuple[nn.Module, nn.Module],
        mix: Mix,
        hidden_SH: Tensor,
        taught_SK: Tensor,
        targets_S: Tensor,
        *weights: Tensor,
    ) -> Tensor:
        rows = min(chunk_rows(head) for head in heads)
        nats = hidden_SH.new_zeros((), dtype=at_least_fp32(hidden_SH[:0]).dtype)
        grad_SH = torch.empty_like(hidden_SH)
        sums = [torch.zeros_like(weight, dtype=nats.dtype) for weight in weights]
        chunks = zip(hidden_SH.split(rows), taught_SK.split(rows), targets_S.split(rows), strict=True)
        for number, (hidden, taught, targets) in enumerate(chunks):
            with torch.enable_grad():
                hidden = hidden.detach().requires_grad_()
                output = heads[0](hidden)
            chunk_nats, gradient = _mixed(output.detach(), heads[1](taught), targets, mix)
            nats += chunk_nats
            grads = torch.autograd.grad(output, [hidden, *weights], gradient.to(output.dtype))
            grad_SH[number * rows : number * rows + len(hidden)] = grads[0]
            for total, grad in zip(sums, grads[1:], strict=True):
                total += grad
        ctx.save_for_backward(grad_SH, *(total.to(weight.dtype) for total, weight in zip(sums, weights, strict=True)))
        return nats

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        scaled = [grad * grad_outputs[0].to(grad.dtype) for grad in ctx.saved_tensors]
        return None, None, scaled[0], None, None, *scaled[1:]


def _mixed(logits: Tensor, taught: Tensor, targets: Tensor, mix: Mix) -> tuple[Tensor, Tensor]:
    """The sum of the mixed nats of a chunk, and its gradient by the student's logits.

    Rows of an output layer behind those of the tokenizer's last token may be fewer in one model: they are left out of
    the comparison.
    """
    logits, taught = at_least_fp32(logits), at_least_fp32(taught)
    num_shared = min(logits.shape[1], taught.shape[1])
    own_log = log_softmax(logits, dim=1)
    own = -own_log.gather(1, targets[:, None]).sum()
    gradient = own_log.exp_()
    gradient.scatter_add_(1, targets[:, None], gradient.new_full((len(targets), 1), -1.0))
    gradient.mul_(1 - mix.weight)
    said_log = log_softmax(logits[:, :num_shared] / mix.temperature, dim=1)
    taught_log = log_softmax(taught[:, :num_shared] / mix.temperature, dim=1)
    apart = kl_div(said_log, taught_log, reduction="sum", log_target=True)
    gradient[:, :num_shared] += mix.weight * mix.temperature * said_log.exp_().sub_(taught_log.exp_())
    return (1 - mix.weight) * own + mix.weight * mix.temperature**2 * apart, gradient


# Logits of student and teacher at places where both say something, to T² times their divergence, summed.
Apart = Callable[[Tensor, Tensor, float], Tensor]


def _choices_apart(said: Tensor, taught: Tensor, temperature: float) -> Tensor:
    said_log, taught_log = (log_softmax(logits / temperature, dim=-1) for logits in (said, taught))
    return temperature**2 * kl_div(said_log, taught_log, reduction="sum", log_target=True)


def _questions_apart(said: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """Each label is a question of its own, yes or no."""
    said, taught = said / temperature, taught / temperature
    yes = sigmoid(taught) * (logsigmoid(taught) - logsigmoid(said))
    no = sigmoid(-taught) * (logsigmoid(-taught) - logsigmoid(-said))
    return temperature**2 * (yes + no).sum()


def _scores_apart(said: Tensor, taught: Tensor, temperature: float) -> Tensor:
    return 0.5 * (said - taught).square().sum()


_APART: Mapping[str, Apart] = {
    "one_label": _choices_apart,
    "labels": _questions_apart,
    "score": _scores_apart,
    "tags": _choices_apart,
    "span": _choices_apart,
}


def _as_they_are(logits: Tensor, row: ReadRow) -> Tensor:
    return logits


def _of_told_tokens(values_TC: Tensor, row: ReadRow) -> Tensor:
    return values_TC[torch.tensor(row.targets != NOWHERE, device=values_TC.device)]


def _of_documents(values_TC: Tensor, row: ReadRow) -> Tensor:
    return document_means(values_TC, torch.tensor(row.document_starts, device=values_TC.device))


def _starts_and_ends(logits_T2: Tensor, row: ReadRow) -> Tensor:
    """Each document's start and end as two choices among its tokens, [D, 2, L]."""
    return span_choices(logits_T2, row, never=_NEVER).transpose(1, 2)


# Logits of a row to those of each choice that was made.
_CHOICES: Mapping[str, Callable[[Tensor, ReadRow], Tensor]] = {"tags": _of_told_tokens, "span": _starts_and_ends}


def _cosines_apart(said_PC: Tensor, taught_PC: Tensor, temperature: float) -> Tensor:
    """Each query chooses among texts; those that are hidden from it are so in both."""
    hidden = torch.isinf(said_PC)
    return _choices_apart(said_PC.masked_fill(hidden, _NEVER), taught_PC.masked_fill(hidden, _NEVER), temperature)


def _orders_apart(said_P: Tensor, taught_P: Tensor, temperature: float) -> Tensor:
    """Which of two pairs is the closer one, for each pair the mean over all others."""
    said_PP, taught_PP = (logits[:, None] - logits[None] for logits in (said_P, taught_P))
    return _questions_apart(said_PP, taught_PP, temperature) / max(1, len(said_P) - 1)


def distilled_vectors(own: Objective, teacher: Teacher, mix: Mix, *, scale: float, symmetric: bool) -> Objective:
    """The objective of an encoder whose vectors learn their pairs and how close the teacher finds the same texts."""

    def vectors(model: PreTrainedModel, batch: PairedRow) -> Tensor:
        return document_vectors(model, batch.input_ids, batch.document_starts)

    def loss(model: PreTrainedModel, batch: PairedRow) -> tuple[Tensor, int]:
        said, taught = vectors(model, batch), teacher.say(vectors, batch)
        paid = pair_nats(said, batch, scale=scale, symmetric=symmetric).sum()
        logits, apart = (choice_logits, _cosines_apart) if batch.scores is None else (pair_logits, _orders_apart)
        told = apart(logits(said, batch, scale=scale), logits(taught, batch, scale=scale), mix.temperature)
        return (1 - mix.weight) * paid + mix.weight * told, len(batch.queries)

    return replace(own, name=f"{own.name}, distilled", loss=loss)


def distilled_grades(own: Objective, teacher: Teacher, mix: Mix) -> Objective:
    """The objective of a cross-encoder that learns its pairs' grades and what the teacher grades them."""

    def loss(model: PreTrainedModel, batch: GradedRow) -> tuple[Tensor, int]:
        said, taught = packed_grades(model, batch), teacher.say(packed_grades, batch)
        paid = grade_nats(said, batch).sum()
        return (1 - mix.weight) * paid + mix.weight * _questions_apart(said, taught, mix.temperature), len(batch.grades)

    return replace(own, name=f"{own.name}, distilled", loss=loss)


def distilled_reading(own: Objective, teacher: Teacher, mix: Mix) -> Objective:
    """The objective of a reader that learns what its rows say and what the teacher says of the same texts.

    `own` is the objective of one label, several, a score, tags or a span.
    """
    apart, price = _APART[own.name], PRICES[own.name]
    choices = _CHOICES.get(own.name, _as_they_are)
    of_targets = _of_told_tokens if own.name == "tags" else _of_documents

    def loss(model: PreTrainedModel, row: ReadRow) -> tuple[Tensor, int]:
        said_TH, taught_TK = row_states(model, row), teacher.say(row_states, row)
        said = logits_on(model, said_TH, row)
        with torch.no_grad():
            taught = (logits_on(teacher.model, taught_TK, row) - teacher.mean) / teacher.scale
        nats = (1 - mix.weight) * price(said, row)[0].sum()
        nats += mix.weight * apart(choices(said, row), choices(taught, row), mix.temperature)
        if mix.hidden:
            nats += mix.hidden * of_targets(_directions_apart(said_TH, taught_TK)[:, None], row).sum()
        return nats, row.num_supervised

    return replace(own, name=f"{own.name}, distilled", loss=loss)
