"""Learning from pairs on packed rows is learning from padded ones: the nats, the gradients, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from models import toy_encoder
from torch.nn.functional import binary_cross_entropy_with_logits, cosine_similarity, cross_entropy

from setsail.base.errors import ModelError
from setsail.models import reader
from setsail.models.fused import fuse
from setsail.models.reader import new_reader
from setsail.models.sentence_encoder import load_sentence_encoder
from setsail.tasks.embed import PairBatch
from setsail.tasks.rank import GradedBatch
from setsail.train.contrast import contrast
from setsail.train.distil import Mix, Teacher, distilled_grades, distilled_vectors
from setsail.train.grades import GRADES, packed_grades
from setsail.train.loop import train
from setsail.train.optimizer import adamw

LENGTHS = (6, 9, 2, 13, 9, 21, 7)  # three queries, their positives, one negative
SCALE = 20.0
PLAIN, SYMMETRIC = contrast(scale=SCALE, symmetric=False), contrast(scale=SCALE, symmetric=True)


def documents(*, seed: int = 0) -> list[np.ndarray]:
    draw = np.random.default_rng(seed)
    return [draw.integers(5, 60, length) for length in LENGTHS]


def pairs(*, scores: np.ndarray | None = None, hidden: np.ndarray | None = None) -> PairBatch:
    starts = np.cumsum([0, *LENGTHS]).astype(np.int32)
    return PairBatch(
        np.concatenate(documents()),
        starts,
        queries=np.arange(3),
        candidates=np.arange(3, 6 if scores is not None else 7),
        hidden=np.zeros((3, 4), bool) if hidden is None else hidden,
        scores=scores,
    )


@pytest.fixture(params=toy_encoder.KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def encoder(folder: Path, kind: str = "bert", dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    if not folder.exists():
        toy_encoder.write_folder(folder, kind)
    return load_sentence_encoder(folder, dtype=dtype, seed=1).requires_grad_(True)


def plain_means(model: torch.nn.Module) -> torch.Tensor:
    """Each document alone through the model's own forward."""
    states = [model(input_ids=torch.tensor(ids)[None]).last_hidden_state[0] for ids in documents()]
    return torch.stack([each.mean(dim=0) for each in states])


def plain_nats(means: torch.Tensor, hidden: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    logits = SCALE * cosine_similarity(means[:3, None], means[None, 3:], dim=-1)
    logits = logits.masked_fill(torch.tensor(hidden), -torch.inf)
    right = torch.arange(3)
    forth = cross_entropy(logits, right, reduction="none")
    return forth, (forth + cross_entropy(logits[:, :3].T, right, reduction="none")) / 2


def test_nats_and_gradients_are_those_of_each_text_alone(kind: str, tmp_path: Path) -> None:
    hidden = np.zeros((3, 4), bool)
    hidden[0, 1] = hidden[2, 3] = True
    model = encoder(tmp_path / kind, kind).eval()
    expected = plain_nats(plain_means(model), hidden)
    expected[0].sum().backward()
    gradients = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()
    batch = pairs(hidden=hidden)
    nats, count = PLAIN.loss(model, batch)
    nats.backward()
    assert count == 3
    torch.testing.assert_close(nats, expected[0].sum(), atol=1e-4, rtol=1e-4)
    for name, weight in model.named_parameters():
        if weight.grad is not None:
            torch.testing.assert_close(weight.grad, gradients[name], atol=2e-4, rtol=2e-3, msg=name)
    for objective, values in ((PLAIN, expected[0]), (SYMMETRIC, expected[1])):
        found = [each for each, _ in objective.row_nats(model, batch)]
        assert found == pytest.approx(values.tolist(), abs=1e-4)


def test_scores_ask_for_their_order(tmp_path: Path) -> None:
    model = encoder(tmp_path / "bert").eval()
    means = plain_means(model)
    cosines = (SCALE * cosine_similarity(means[:3], means[3:6])).tolist()
    batch = pairs(scores=np.array([1.0, 0.0, 1.0]))
    found = [nats for nats, _ in PLAIN.row_nats(model, batch)]
    wrong = [np.log1p(np.exp(cosines[1] - cosines[other])) for other in (0, 2)]
    assert found == pytest.approx([wrong[0], sum(wrong) / 2, wrong[1]], abs=1e-4)
    alike = [nats for nats, _ in PLAIN.row_nats(model, pairs(scores=np.ones(3)))]
    assert alike == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_checks_pass_what_is_packed_rightly(kind: str, dtype: torch.dtype, tmp_path: Path) -> None:
    model = encoder(tmp_path / kind, kind, dtype)
    fuse(model)
    PLAIN.check(model.train())
    assert model.training
    GRADES.check(ranker(tmp_path / kind, kind, dtype))


def test_the_checks_refuse_positions_that_run_through_the_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, graded = encoder(tmp_path / "bert"), ranker(tmp_path / "bert")
    monkeypatch.setattr(reader, "_positions", lambda model, ids, starts: torch.arange(len(ids)))
    with pytest.raises(ModelError, match="packed texts come out otherwise"):
        PLAIN.check(model)
    with pytest.raises(ModelError, match="packed pairs come out otherwise"):
        GRADES.check(graded)


def test_the_check_refuses_pairs_whose_types_are_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ranker(tmp_path / "bert")
    own = reader.packed_states
    monkeypatch.setattr(reader, "packed_states", lambda model, ids, starts, types=None: own(model, ids, starts))
    with pytest.raises(ModelError, match="packed pairs come out otherwise"):
        GRADES.check(model)


def ranker(folder: Path, kind: str = "bert", dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    if not folder.exists():
        toy_encoder.write_folder(folder, kind)
    return toy_encoder.lively(new_reader(folder, ("relevance",), dtype=dtype, seed=1)).requires_grad_(True)


def graded() -> GradedBatch:
    starts = np.cumsum([0, *LENGTHS]).astype(np.int32)
    types = np.concatenate([np.arange(length) >= length // 2 for length in LENGTHS]).astype(np.int64)
    grades = np.array([0, 1, 0.5, 1, 0, 0.25, 1], np.float32)
    return GradedBatch(np.concatenate(documents()), types, starts, grades)


def test_nats_of_grades_are_those_of_each_pair_alone(kind: str, tmp_path: Path) -> None:
    model, batch = ranker(tmp_path / kind, kind).eval(), graded()
    logits = []
    for start, end in zip(batch.document_starts, batch.document_starts[1:], strict=False):
        typed = {"token_type_ids": torch.tensor(batch.token_types[start:end])[None]}
        options = typed if reader.has_token_types(model) else {}
        logits.append(model(input_ids=torch.tensor(batch.input_ids[start:end])[None], **options).logits[0, 0])
    expected = binary_cross_entropy_with_logits(torch.stack(logits), torch.tensor(batch.grades), reduction="none")
    assert [nats for nats, _ in GRADES.row_nats(model, batch)] == pytest.approx(expected.tolist(), abs=1e-4)
    nats, count = GRADES.loss(model, batch)
    assert count == len(LENGTHS) and nats.item() == pytest.approx(expected.sum().item(), abs=1e-3)


@pytest.mark.parametrize("what", ["pairs", "grades"])
def test_both_are_learned(what: str, tmp_path: Path) -> None:
    model = encoder(tmp_path / "bert") if what == "pairs" else ranker(tmp_path / "bert")
    objective, batch = (PLAIN, pairs()) if what == "pairs" else (GRADES, graded())
    before = sum(nats for nats, _ in objective.row_nats(model, batch))
    steps = train(
        model,
        [[batch]] * 40,
        optimizer=adamw(model),
        learning_rate=lambda step: 3e-3,
        clip_norm=1.0,
        seed=1,
        objective=objective,
    )
    assert list(steps)[-1].num_supervised == batch.num_supervised
    after = sum(nats for nats, _ in objective.row_nats(model, batch))
    least = 0.0 if what == "pairs" else 0.5623 + 0.6931  # the entropy of the grades between
    assert after - least < 0.15 * (before - least)


def two_encoders(folder: Path) -> tuple[torch.nn.Module, torch.nn.Module]:
    """A student, and a teacher whose vectors are longer."""
    teacher = toy_encoder.write_folder(folder / "wide", seed=5, hidden_size=48, num_attention_heads=4)
    toy_encoder.write_folder(folder / "narrow", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    return encoder(folder / "narrow"), encoder(teacher)


def plain_apart(said: torch.Tensor, taught: torch.Tensor, temperature: float) -> torch.Tensor:
    """T² times the divergence of choices, row by row in float64."""
    said, taught = ((logits.double() / temperature).log_softmax(-1) for logits in (said, taught))
    return temperature**2 * (taught.exp() * (taught - said)).sum()


def test_vectors_learn_how_close_the_teacher_finds_texts(tmp_path: Path) -> None:
    student, teacher = two_encoders(tmp_path)
    hidden = np.zeros((3, 4), bool)
    hidden[0, 1] = hidden[2, 3] = True
    batch, mix = pairs(hidden=hidden), Mix(0.4, 2.0)
    objective = distilled_vectors(PLAIN, Teacher(teacher), mix, scale=SCALE, symmetric=False)
    nats, number = objective.loss(student, batch)
    ours = torch.autograd.grad(nats, list(student.parameters()), allow_unused=True)
    means = [plain_means(model) for model in (student, teacher)]
    said, taught = (SCALE * cosine_similarity(each[:3, None], each[None, 3:], dim=-1) for each in means)
    own, _ = plain_nats(means[0], hidden)
    seen = [(said[row][~hidden[row]], taught[row][~hidden[row]].detach()) for row in range(3)]
    apart = sum(plain_apart(*each, mix.temperature) for each in seen)
    expected = (1 - mix.weight) * own.sum() + mix.weight * apart
    theirs = torch.autograd.grad(expected, list(student.parameters()), allow_unused=True)
    assert number == 3 and nats.item() == pytest.approx(expected.item(), rel=1e-4)
    assert sum(grad is not None for grad in ours) > 20
    for grad, twin in zip(ours, theirs, strict=True):
        if grad is not None:
            torch.testing.assert_close(grad, twin, rtol=2e-3, atol=2e-4)
    assert objective.row_nats(student, batch) == PLAIN.row_nats(student, batch)
    alike = distilled_vectors(PLAIN, Teacher(encoder(tmp_path / "narrow")), Mix(1.0, 2.0), scale=SCALE, symmetric=True)
    assert abs(alike.loss(student, batch)[0].item()) < 1e-4


def test_scored_pairs_learn_the_teachers_order(tmp_path: Path) -> None:
    student, teacher = two_encoders(tmp_path)
    batch, mix = pairs(scores=np.array([3.0, 1.0, 3.0])), Mix(0.4, 2.0)
    objective = distilled_vectors(PLAIN, Teacher(teacher), mix, scale=SCALE, symmetric=False)
    nats = objective.loss(student, batch)[0]
    means = [plain_means(model) for model in (student, teacher)]
    said, taught = (SCALE * cosine_similarity(each[:3], each[3:6], dim=-1) for each in means)
    orders = [(said[i] - said[j], taught[i] - taught[j]) for i in range(3) for j in range(3) if i != j]
    zero = torch.zeros(())
    apart = sum(plain_apart(torch.stack([s, zero]), torch.stack([t, zero]), mix.temperature) for s, t in orders) / 2
    own = PLAIN.loss(student, batch)[0]
    assert nats.item() == pytest.approx(((1 - mix.weight) * own + mix.weight * apart).item(), rel=1e-4)


def test_grades_learn_the_teachers(tmp_path: Path) -> None:
    folder = toy_encoder.write_folder(tmp_path, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    student, teacher = (
        toy_encoder.lively(new_reader(folder, ("grade",), dtype=torch.float32, seed=seed)) for seed in (1, 2)
    )
    batch, mix = graded(), Mix(0.4, 2.0)
    nats, number = distilled_grades(GRADES, Teacher(teacher), mix).loss(student, batch)
    said, taught = packed_grades(student, batch), packed_grades(teacher, batch).detach()
    zeros = torch.zeros_like(said)
    two = [torch.stack([logits, zeros], dim=-1) for logits in (said, taught)]
    own = binary_cross_entropy_with_logits(said, torch.tensor(batch.grades), reduction="sum")
    expected = (1 - mix.weight) * own + mix.weight * plain_apart(*two, mix.temperature)
    assert number == 7 and nats.item() == pytest.approx(expected.item(), rel=1e-4)
    assert (said - taught).abs().max() > 0.1
