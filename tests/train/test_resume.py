"""A run that was killed anywhere is the same run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from toy_training import toy_course, toy_steps, toy_trained, voyage

from setsail.base.errors import ArtifactError
from setsail.train.checkpoint import latest
from setsail.train.journal import read_journal
from setsail.train.loop import TrainingDiverged
from setsail.train.resume import restore, train_resumably

SCRIPT = Path(__file__).with_name("killed_voyages.py")


def killed_voyages(method: str, folder: Path, num_voyages: int, seed: int) -> dict[str, object]:
    arguments = [sys.executable, str(SCRIPT), method, str(folder), str(num_voyages), str(seed)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def check(outcome: dict[str, object]) -> int:
    assert [step for step, _, _ in outcome["reference"]["steps"]] == list(range(1, 8))
    assert outcome["reference"]["last"] == "step-00000007"
    for killed in outcome["voyages"]:
        assert killed["result"] == outcome["reference"]
    assert outcome["stopped"] == {"2": 130, "15": 143}
    return sum(killed["kills"] for killed in outcome["voyages"])


@pytest.mark.parametrize("method", ["lora", "full"])
def test_killed_at_random_and_started_again_is_never_stopped(method: str, tmp_path: Path) -> None:
    """With dropout, four micro-batches a step, kills between them and inside saves, and both polite signals."""
    assert check(killed_voyages(method, tmp_path, 3, seed=11)) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_hundred_kills_each(method: str, tmp_path: Path) -> None:
    assert check(killed_voyages(method, tmp_path, 30, seed=12)) >= 100


def test_a_run_that_has_arrived_stays_as_it_is(tmp_path: Path) -> None:
    steps, course = toy_steps(3), toy_course(3)
    first = list(voyage(tmp_path, "lora", steps, course))
    final = (tmp_path / "final.txt").read_text()
    assert len(first) == 3
    left = tmp_path / "checkpoints" / ".step-00000001.pruned.partial"  # by a kill in the last clearing up
    left.mkdir()
    assert list(voyage(tmp_path, "lora", steps, course)) == []
    assert not left.exists()
    assert (tmp_path / "final.txt").read_text() == final
    assert [record["step"] for record in read_journal(tmp_path / "steps.jsonl")] == [1, 2, 3]


@pytest.mark.parametrize(
    "change", [{"seed": 6}, {"batch_tokens": 128}, {"learning_rate": 1e-4}, {"tokenizer": "u" * 64}]
)
def test_changed_settings_are_refused(tmp_path: Path, change: dict[str, object]) -> None:
    steps = toy_steps(3)
    list(voyage(tmp_path, "lora", steps, toy_course(3)))
    with pytest.raises(ArtifactError, match="begun under other settings") as caught:
        list(voyage(tmp_path, "lora", steps, toy_course(3, **change)))
    (key,) = change
    assert f"{key}: was " in str(caught.value)


def test_after_damage_the_steps_are_done_again_and_come_out_the_same(tmp_path: Path) -> None:
    steps, course = toy_steps(6), toy_course(6)
    list(voyage(tmp_path, "full", steps, course))
    final, records = (tmp_path / "final.txt").read_text(), read_journal(tmp_path / "steps.jsonl")
    (tmp_path / "checkpoints" / "step-00000006" / "optimizer.safetensors").write_bytes(b"")
    said: list[str] = []
    model, optimizer = toy_trained("full")
    assert restore(optimizer, course, folder=tmp_path, say=said.append) == 4
    assert "step-00000006 is damaged" in said[0]
    again = list(train_resumably(model, optimizer, steps[4:], course, folder=tmp_path, start=4))
    assert [step.index for step in again] == [5, 6]
    assert (tmp_path / "final.txt").read_text() == final
    assert [r["loss_hex"] for r in read_journal(tmp_path / "steps.jsonl")] == [r["loss_hex"] for r in records]


def test_divergence_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    steps, course = toy_steps(6), toy_course(6)
    model, optimizer = toy_trained("lora")
    done = []
    with pytest.raises(TrainingDiverged, match="at step 6"):
        for step in train_resumably(model, optimizer, steps, course, folder=tmp_path, start=0):
            done.append(step.index)
            if step.index == 5:
                model.model.norm.register_forward_hook(lambda module, inputs, output: output * float("nan"))
    assert done == [1, 2, 3, 4, 5]
    found = latest(tmp_path / "checkpoints", course.fingerprint, say=pytest.fail)
    assert found is not None and found.step == 4
