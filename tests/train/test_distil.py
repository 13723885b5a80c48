"""Learning from a teacher: loss and gradients are those of the plain formula, and who is taught comes closer."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from models import toy_encoder
from test_reading import LABELS, Row, row
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from toy_training import VOCABULARY, PackedRow, packed, toy_documents, toy_model, toy_steps

from setsail.base.recipe import Lora
from setsail.models.lora import add_lora
from setsail.models.reader import new_reader
from setsail.train import loss as loss_module
from setsail.train.distil import Mix, Teacher, distilled_reading, distilled_words
from setsail.train.loop import train
from setsail.train.loss import NEXT_TOKEN
from setsail.train.optimizer import adamw
from setsail.train.reading import OBJECTIVES, row_logits


def changed(model, size: float = 0.05, seed: int = 1):
    """A copy that has gone some way from the model."""
    copied, generator = copy.deepcopy(model), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in copied.parameters():
            weight.add_(size * torch.randn(weight.shape, generator=generator, dtype=weight.dtype))
    return copied


def logits_at_targets(model, batch: PackedRow) -> tuple[Tensor, Tensor]:
    """By the model's own forward, a document at a time."""
    logits, targets = [], []
    for start, end in zip(batch.document_starts, batch.document_starts[1:], strict=False):
        ids = torch.tensor(batch.input_ids[start:end], dtype=torch.long)
        wanted = torch.tensor(batch.targets[start:end], dtype=torch.long)
        said = model(input_ids=ids[None], use_cache=False).logits[0]
        logits.append(said[wanted != -100])
        targets.append(wanted[wanted != -100])
    return torch.cat(logits), torch.cat(targets)


def divergence(said: Tensor, taught: Tensor) -> Tensor:
    shares = taught.softmax(-1)
    return (shares * (shares.log() - said.softmax(-1).log())).sum()


def states_at_targets(model, batch: PackedRow) -> Tensor:
    """What stands before the output layer, by the model's own forward, a document at a time."""
    states = []
    for start, end in zip(batch.document_starts, batch.document_starts[1:], strict=False):
        ids = torch.tensor(batch.input_ids[start:end], dtype=torch.long)
        made = model.get_decoder()(input_ids=ids[None], use_cache=False).last_hidden_state[0]
        states.append(made[torch.tensor(batch.targets[start:end]) != -100])
    return torch.cat(states)


def apart(said: Tensor, taught: Tensor) -> Tensor:
    """One minus the cosine, by its definition."""
    return 1 - (said * taught).sum(-1) / (said.norm(dim=-1) * taught.norm(dim=-1))


def plain_loss(model, teacher, batch: PackedRow, mix: Mix) -> Tensor:
    said, targets = logits_at_targets(model, batch)
    with torch.no_grad():
        taught, _ = logits_at_targets(teacher, batch)
    warm = mix.temperature
    own = cross_entropy(said, targets, reduction="sum")
    nats = (1 - mix.weight) * own + mix.weight * warm**2 * divergence(said / warm, taught / warm)
    if mix.hidden:
        with torch.no_grad():
            states = states_at_targets(teacher, batch)
        nats = nats + mix.hidden * apart(states_at_targets(model, batch), states).sum()
    return nats


@pytest.mark.parametrize("logits_per_chunk", [1, 2**30])
@pytest.mark.parametrize("mix", [Mix(0.5, 2.0), Mix(1.0, 1.0), Mix(0.3, 0.7), Mix(0.3, 0.7, hidden=0.4)])
def test_loss_and_gradients_are_those_of_the_formula(monkeypatch, logits_per_chunk: int, mix: Mix) -> None:
    monkeypatch.setattr(loss_module, "LOGITS_PER_CHUNK", logits_per_chunk)
    model, batch = toy_model(torch.float64), packed(toy_documents(21))
    teacher = changed(model, 0.2)
    other = copy.deepcopy(model)
    nats, number = distilled_words(NEXT_TOKEN, Teacher(teacher), mix).loss(model, batch)
    (3 * nats).backward()
    expected = plain_loss(other, teacher, batch, mix)
    (3 * expected).backward()
    assert number == batch.num_supervised > 32
    assert nats.item() == pytest.approx(expected.item(), rel=1e-12)
    # The norms round to float32 on the way back, once for our one pass and once for each of the formula's two.
    near = {"rtol": 1e-5, "atol": 1e-6} if mix.hidden else {"rtol": 1e-9, "atol": 1e-12}
    for (name, weight), twin in zip(model.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(weight.grad, twin.grad, **near, msg=name)
    assert all(weight.grad is None for weight in teacher.parameters())


def test_a_student_that_is_its_teacher_has_nothing_to_learn_from_it() -> None:
    model, batch = toy_model(torch.float64), packed(toy_documents(9))
    nats, _ = distilled_words(NEXT_TOKEN, Teacher(copy.deepcopy(model)), Mix(1.0, 2.0, hidden=1.0)).loss(model, batch)
    nats.backward()
    assert nats.item() == pytest.approx(0.0, abs=1e-12)
    assert max(float(weight.grad.abs().max()) for weight in model.parameters()) < 1e-12


def test_rows_behind_the_last_token_are_left_out(monkeypatch) -> None:
    """A teacher whose output layer was padded to a rounder number teaches as one that was not."""
    model, batch = toy_model(torch.float64), packed(toy_documents(9))
    teacher = changed(model, 0.2)
    padded = copy.deepcopy(teacher)
    head = nn.Linear(32, VOCABULARY + 7, bias=False, dtype=torch.float64)
    with torch.no_grad():
        head.weight[:VOCABULARY] = teacher.get_output_embeddings().weight
    padded.set_output_embeddings(head)
    plain, more = (
        distilled_words(NEXT_TOKEN, Teacher(each), Mix(0.5, 2.0)).loss(model, batch)[0] for each in (teacher, padded)
    )
    assert more.item() == pytest.approx(plain.item(), rel=1e-12)


def test_validation_is_the_students_own_loss() -> None:
    model, batch = toy_model(), packed(toy_documents(9))
    taught = distilled_words(NEXT_TOKEN, Teacher(changed(model)), Mix(0.9, 2.0))
    assert taught.row_nats(model, batch) == NEXT_TOKEN.row_nats(model, batch)


def test_an_adapter_learns_from_a_teacher_too() -> None:
    model, batch = toy_model(), packed(toy_documents(9))
    teacher = changed(model, 0.2)
    add_lora(model, Lora(rank=4, targets=("q_proj", "down_proj")), seed=3)
    other = copy.deepcopy(model)
    distilled_words(NEXT_TOKEN, Teacher(teacher), Mix(0.5, 2.0)).loss(model, batch)[0].backward()
    plain_loss(other, teacher, batch, Mix(0.5, 2.0)).backward()
    grads = {name: weight.grad for name, weight in model.named_parameters() if weight.requires_grad}
    assert grads and all(grad is not None for grad in grads.values())
    for name, weight in other.named_parameters():
        if weight.requires_grad:
            torch.testing.assert_close(grads[name], weight.grad, rtol=1e-3, atol=1e-5, msg=name)


def test_the_loop_brings_a_student_closer_to_its_teacher() -> None:
    base = toy_model()
    teacher, steps = changed(base, 0.3), toy_steps(100)
    apart = distilled_words(NEXT_TOKEN, Teacher(teacher), Mix(1.0, 1.0))
    unseen = packed(toy_documents(40, seed=9))
    ends = {}
    for weight in (0.0, 0.9):
        student = copy.deepcopy(base)
        objective = NEXT_TOKEN if weight == 0 else distilled_words(NEXT_TOKEN, Teacher(teacher), Mix(weight, 2.0))
        options = {"optimizer": adamw(student, weight_decay=0.0), "learning_rate": lambda step: 3e-3, "clip_norm": 1.0}
        list(train(student, steps, seed=1, objective=objective, **options))
        ends[weight] = float(apart.loss(student.eval(), unseen)[0].detach())
    before = float(apart.loss(base, unseen)[0].detach())
    assert ends[0.9] < 0.92 * before < ends[0.0], (before, ends)


def test_hidden_states_come_to_point_where_the_teachers_do() -> None:
    """Beside a part that is the same for both: the rows' own targets."""
    base, steps = toy_model(), toy_steps(100)
    teacher, unseen = changed(base, 0.3), packed(toy_documents(40, seed=9))
    ends = {}
    for hidden in (0.0, 2.0):
        student = copy.deepcopy(base)
        objective = distilled_words(NEXT_TOKEN, Teacher(teacher), Mix(0.1, 2.0, hidden))
        options = {"optimizer": adamw(student, weight_decay=0.0), "learning_rate": lambda step: 3e-3, "clip_norm": 1.0}
        list(train(student, steps, seed=1, objective=objective, **options))
        with torch.no_grad():
            ends[hidden] = float(apart(states_at_targets(student, unseen), states_at_targets(teacher, unseen)).mean())
    assert ends[2.0] < 0.7 * ends[0.0], ends


HEADS = {
    "one_label": ("document", "single_label_classification"),
    "labels": ("document", "multi_label_classification"),
    "score": ("document", "regression"),
    "tags": ("token", None),
    "span": ("span", None),
}


def read_row(loss: str) -> Row:
    """Documents with what each loss wants to be told."""
    batch, draw = row(), np.random.default_rng(4)
    targets = {
        "one_label": batch.targets,
        "labels": draw.integers(0, 2, (len(batch.targets), len(LABELS))).astype(np.float32),
        "score": draw.normal(size=len(batch.targets)).astype(np.float32),
        "tags": np.where(draw.random(len(batch.input_ids)) < 0.3, -100, draw.integers(0, 3, len(batch.input_ids))),
        "span": np.array([[0, 0], [5, 7], [1, 1], [12, 12], [4, 8]]),
    }
    in_last = draw.random(len(batch.input_ids)) < 0.5
    if loss == "span":
        in_last[np.add(batch.document_starts[:-1, None], targets[loss])] = True
    return replace(batch, targets=targets[loss], in_last=in_last)


def plain_span_loss(said: Tensor, taught: Tensor, batch: Row, mix: Mix) -> Tensor:
    """Start and end of each document, chosen among its allowed tokens alone."""
    total, warm = torch.zeros(()), mix.temperature
    for number, (start, end) in enumerate(zip(batch.document_starts, batch.document_starts[1:], strict=False)):
        allowed = np.flatnonzero(batch.in_last[start:end] | (np.arange(end - start) == 0))
        for side in (0, 1):
            own, told = (logits[start:end][allowed, side] for logits in (said, taught))
            target = torch.tensor(int(np.flatnonzero(allowed == batch.targets[number, side])[0]))
            total = total + (1 - mix.weight) * cross_entropy(own, target)
            total = total + mix.weight * warm**2 * divergence(own / warm, told / warm)
    return total


def plain_directions(student, teacher, batch: Row, loss: str) -> Tensor:
    """By the encoders' own forwards on each document: tokens that are told of, or the mean over a document's."""
    total = torch.zeros(())
    for start, end in zip(batch.document_starts, batch.document_starts[1:], strict=False):
        ids = torch.tensor(batch.input_ids[start:end])[None]
        mask = torch.ones_like(ids)
        said = student.base_model(input_ids=ids, attention_mask=mask).last_hidden_state[0]
        taught = teacher.base_model(input_ids=ids, attention_mask=mask).last_hidden_state[0].detach()
        values = apart(said, taught)
        total = total + (values[batch.targets[start:end] != -100].sum() if loss == "tags" else values.mean())
    return total


def plain_read_loss(said: Tensor, taught: Tensor, targets: Tensor, loss: str, mix: Mix) -> Tensor:
    warm, weight = mix.temperature, mix.weight
    if loss == "score":
        return ((1 - weight) * (said[:, 0] - targets) ** 2 / 2 + weight * (said[:, 0] - taught[:, 0]) ** 2 / 2).sum()
    if loss == "labels":
        own = binary_cross_entropy_with_logits(said, targets, reduction="sum")
        two = [torch.stack([logits / warm, torch.zeros_like(logits)], dim=-1) for logits in (said, taught)]
        return (1 - weight) * own + weight * warm**2 * divergence(*two)
    told = targets != -100
    own = cross_entropy(said[told], targets[told], reduction="sum")
    return (1 - weight) * own + weight * warm**2 * divergence(said[told] / warm, taught[told] / warm)


@pytest.mark.parametrize("loss", HEADS)
@pytest.mark.parametrize("hidden", [0.0, 0.6])
def test_readers_learn_what_the_formula_says(loss: str, hidden: float, tmp_path) -> None:
    folder = toy_encoder.write_folder(tmp_path, hidden_dropout_prob=0.0)
    head, problem = HEADS[loss]
    names = {"score": ("score",), "span": ("start", "end")}.get(loss, LABELS)
    student, teacher = (
        toy_encoder.lively(new_reader(folder, names, dtype=torch.float32, seed=seed, head=head, problem=problem))
        for seed in (1, 2)
    )
    teacher = changed(teacher, 0.1)
    batch, mix = read_row(loss), Mix(0.4, 2.0, hidden)
    own = OBJECTIVES[loss]
    same = distilled_reading(own, Teacher(copy.deepcopy(student)), Mix(1.0, 2.0, hidden))
    assert abs(same.loss(student, batch)[0].item()) < 1e-4
    mean, scale = (20.0, 4.0) if loss == "score" else (0.0, 1.0)  # the saved teacher says scores in their own unit
    taught = Teacher(teacher, mean=mean, scale=scale)
    nats, number = distilled_reading(own, taught, mix).loss(student, batch)
    ours = torch.autograd.grad(nats, list(student.parameters()), allow_unused=True)
    said = row_logits(student, batch)
    told = (row_logits(teacher, batch).detach() - mean) / scale
    if loss == "span":
        expected = plain_span_loss(said, told, batch, mix)
    else:
        expected = plain_read_loss(said, told, torch.tensor(batch.targets), loss, mix)
    expected = expected + hidden * plain_directions(student, teacher, batch, loss)
    theirs = torch.autograd.grad(expected, list(student.parameters()), allow_unused=True)
    assert number == batch.num_supervised and nats.item() == pytest.approx(expected.item(), rel=1e-5)
    assert sum(grad is not None for grad in ours) > 20
    for grad, twin in zip(ours, theirs, strict=True):
        assert (grad is None) == (twin is None)
        if grad is not None:
            torch.testing.assert_close(grad, twin, rtol=1e-4, atol=1e-4)
    assert distilled_reading(own, taught, mix).row_nats(student, batch) == own.row_nats(student, batch)
