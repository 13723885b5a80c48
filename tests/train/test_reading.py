"""Learning labels on packed rows is learning them on padded ones, and a run that was killed is the same run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from models import toy_encoder
from torch.nn.functional import cross_entropy
from toy_training import fingerprint_of

from setsail.base.errors import ModelError
from setsail.models import reader
from setsail.models.fused import fuse
from setsail.models.reader import new_reader
from setsail.train.journal import read_journal
from setsail.train.loop import Step, train
from setsail.train.optimizer import adamw
from setsail.train.reading import OBJECTIVES, logits_of
from setsail.train.resume import Course, restore, train_resumably
from setsail.train.schedule import schedule

ONE_LABEL = OBJECTIVES["one_label"]
LABELS = ("a", "b", "c")
LENGTHS = (6, 21, 2, 13, 9)


@dataclass(frozen=True)
class Row:
    input_ids: np.ndarray
    document_starts: np.ndarray
    targets: np.ndarray
    row_ids: tuple[str, ...] = ()
    in_last: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    types: np.ndarray | None = None

    @property
    def num_tokens(self) -> int:
        return len(self.input_ids)

    @property
    def num_supervised(self) -> int:
        return len(self.targets)


def row(*, seed: int = 0) -> Row:
    draw = np.random.default_rng(seed)
    starts = np.concatenate([[0], np.cumsum(LENGTHS)]).astype(np.int32)
    return Row(draw.integers(5, 60, sum(LENGTHS)), starts, draw.integers(0, len(LABELS), len(LENGTHS)))


def padded(batch: Row) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    ids = torch.zeros(len(LENGTHS), max(LENGTHS), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for number, (start, end) in enumerate(zip(batch.document_starts, batch.document_starts[1:], strict=False)):
        ids[number, : end - start] = torch.tensor(batch.input_ids[start:end])
        mask[number, : end - start] = 1
    return ids, mask, torch.tensor(batch.targets)


@pytest.fixture(params=toy_encoder.KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def toy(folder: Path, kind: str = "bert", dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    if not folder.exists():
        toy_encoder.write_folder(folder, kind)
    return toy_encoder.lively(new_reader(folder, LABELS, dtype=dtype, seed=1)).requires_grad_(True)


def test_nats_are_those_of_padded_rows_one_by_one(kind: str, tmp_path: Path) -> None:
    model, batch = toy(tmp_path / kind, kind), row()
    ids, mask, labels = padded(batch)
    with torch.no_grad():
        expected = cross_entropy(model(input_ids=ids, attention_mask=mask).logits, labels, reduction="none")
    found = ONE_LABEL.row_nats(model, batch)
    assert [count for _, count in found] == [1] * len(LENGTHS)
    torch.testing.assert_close(torch.tensor([nats for nats, _ in found]).float(), expected, atol=1e-5, rtol=1e-4)
    nats, count = ONE_LABEL.loss(model, batch)
    assert count == len(LENGTHS) and nats.dtype == torch.float32
    torch.testing.assert_close(nats, expected.sum(), atol=1e-4, rtol=1e-4)


def test_gradients_are_those_of_padded_rows(kind: str, tmp_path: Path) -> None:
    gradients = []
    for is_packed in (True, False):
        model, batch = toy(tmp_path / kind, kind).eval(), row()
        ids, mask, labels = padded(batch)
        if is_packed:
            nats, _ = ONE_LABEL.loss(model, batch)
        else:
            nats = cross_entropy(model(input_ids=ids, attention_mask=mask).logits, labels, reduction="sum")
        nats.backward()
        gradients.append({name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None})
    for name, gradient in gradients[1].items():
        torch.testing.assert_close(gradients[0][name], gradient, atol=1e-4, rtol=1e-3, msg=name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_check_passes_what_is_packed_rightly(kind: str, dtype: torch.dtype, tmp_path: Path) -> None:
    model = toy(tmp_path / kind, kind, dtype)
    fuse(model)
    ONE_LABEL.check(model.train())
    assert model.training


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_check_refuses_positions_that_run_through_the_row(
    dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = toy(tmp_path / "bert", dtype=dtype)
    monkeypatch.setattr(reader, "_positions", lambda model, ids, starts: torch.arange(len(ids)))
    with pytest.raises(ModelError, match="come out otherwise than padded ones"):
        ONE_LABEL.check(model)


@pytest.mark.parametrize("kind", ["roberta", "xlm-roberta"])
def test_the_check_refuses_positions_that_begin_at_zero_for_roberta(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = toy(tmp_path / kind, kind)
    monkeypatch.setattr(reader, "_padding_position", lambda model: None)
    with pytest.raises(ModelError, match="come out otherwise"):
        ONE_LABEL.check(model)


def test_labels_are_learned(tmp_path: Path) -> None:
    model, batch = toy(tmp_path / "bert"), row()
    before, _ = ONE_LABEL.loss(model.eval(), batch)
    steps = train(
        model,
        [[batch]] * 30,
        optimizer=adamw(model),
        learning_rate=lambda step: 3e-3,
        clip_norm=1.0,
        seed=1,
        objective=ONE_LABEL,
    )
    last = list(steps)[-1]
    assert last.num_supervised == len(LENGTHS) and last.loss_nats < 0.1 * before.item() / len(LENGTHS)
    assert [int(each.argmax()) for each in logits_of(model, batch)] == batch.targets.tolist()


def course(num_steps: int) -> Course:
    return Course(
        learning_rate=schedule("cosine", peak=3e-3, num_steps=num_steps, warmup=0.2),
        clip_norm=1.0,
        seed=5,
        save_every=2,
        fingerprint={"toy": 1},
        objective=ONE_LABEL,
    )


def voyage(folder: Path, base: Path, num_steps: int, stop_after: int | None = None) -> Iterator[Step]:
    model = toy(base, dtype=torch.bfloat16)
    fuse(model)
    optimizer = adamw(model, weight_decay=0.01)
    steps = [[row(seed=2 * number), row(seed=2 * number + 1)] for number in range(num_steps)]
    start = restore(optimizer, course(num_steps), folder=folder, say=lambda text: None)
    for step in train_resumably(model, optimizer, steps[start:], course(num_steps), folder=folder, start=start):
        yield step
        if step.index == stop_after:
            return
    (folder / "final.txt").write_text(fingerprint_of(model))


def test_a_run_that_was_stopped_is_the_same_as_one_that_never_was(tmp_path: Path) -> None:
    base = toy_encoder.write_folder(tmp_path / "base")
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    list(voyage(tmp_path / "whole", base, 7))
    assert [step.index for step in voyage(tmp_path / "stopped", base, 7, stop_after=5)][-1] == 5
    assert [step.index for step in voyage(tmp_path / "stopped", base, 7)] == [5, 6, 7]  # 4 was the last one saved
    losses = [
        [record["loss_hex"] for record in read_journal(tmp_path / name / "steps.jsonl")]
        for name in ("whole", "stopped")
    ]
    assert losses[0] == losses[1] and len(losses[0]) == 7
    assert (tmp_path / "whole" / "final.txt").read_text() == (tmp_path / "stopped" / "final.txt").read_text()
