"""Checkpoints: whole or not there; damage is named; nothing is taken on trust."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from faults import fault_at

from setsail.base.errors import ArtifactError, SystemRefusal
from setsail.train import checkpoint as checkpoint_module
from setsail.train.checkpoint import Checkpoint, latest, save

FILES = ["weights.safetensors", "optimizer.safetensors", "state.json", "manifest.json"]


def at_step(step: int, **fingerprint: object) -> Checkpoint:
    draw = torch.Generator().manual_seed(step)
    return Checkpoint(
        step=step,
        weights={"a": torch.randn(4, 3, generator=draw), "b": torch.randn(2, generator=draw)},
        optimizer={"exp_avg:a": torch.randn(4, 3, generator=draw), "step:a": torch.tensor(float(step))},
        position={"steps": step},
        fingerprint={"seed": 1, "lora": {"rank": 8, "targets": ("q", "v")}} | fingerprint,
    )


def found_in(folder: Path, **fingerprint: object) -> tuple[int, list[str]]:
    """The step of the newest whole checkpoint, held against what was saved, and what was said."""
    said: list[str] = []
    found = latest(folder, at_step(0, **fingerprint).fingerprint, say=said.append)
    assert found is not None
    expected = at_step(found.step)
    for ours, saved in ((found.weights, expected.weights), (found.optimizer, expected.optimizer)):
        assert ours.keys() == saved.keys() and all(torch.equal(ours[name], saved[name]) for name in saved)
    assert found.position == {"steps": found.step}
    return found.step, said


@pytest.fixture
def two(tmp_path: Path) -> Path:
    for step in (1, 2):
        save(tmp_path / "two", at_step(step))
    return tmp_path / "two"


def test_the_last_two_are_kept_and_anybody_may_read_them(tmp_path: Path) -> None:
    assert latest(tmp_path / "none", say=pytest.fail) is None
    for step in (5, 10, 15):
        path = save(tmp_path, at_step(step))
        assert found_in(tmp_path) == (step, [])
    assert sorted(os.listdir(tmp_path)) == ["step-00000010", "step-00000015"]
    assert sorted(os.listdir(path)) == sorted(FILES)
    assert all((path / name).stat().st_mode & 0o777 == 0o644 for name in FILES)


def test_later_steps_of_a_future_that_was_given_up_are_removed(tmp_path: Path) -> None:
    for step in (5, 10, 15, 12):
        save(tmp_path, at_step(step))
    assert sorted(os.listdir(tmp_path)) == ["step-00000010", "step-00000012"]


def flip(path: Path, byte: int) -> None:
    content = bytearray(path.read_bytes())
    content[byte] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "first bit": lambda path: flip(path, 0),
    "middle bit": lambda path: flip(path, path.stat().st_size // 2),
    "late bit": lambda path: flip(path, -3),
    "deleted": lambda path: path.unlink(),
    "emptied": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-7]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"}"),
    "random": lambda path: path.write_bytes(b"\xff\x00\xfe" * 99),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", sorted(DAMAGES))
def test_a_damaged_file_is_named_and_the_checkpoint_before_it_is_taken(two: Path, name: str, damage: str) -> None:
    DAMAGES[damage](two / "step-00000002" / name)
    step, said = found_in(two)
    assert step == 1
    assert len(said) == 1 and "step-00000002 is damaged" in said[0] and name in said[0]
    save(two, at_step(2))
    assert found_in(two) == (2, [])


def test_every_flipped_bit_of_the_small_files_is_seen(two: Path) -> None:
    for name in ("manifest.json", "state.json"):
        path = two / "step-00000002" / name
        content = path.read_bytes()
        for byte in range(0, len(content), 3):
            changed = bytearray(content)
            changed[byte] ^= 1 << (byte % 8)
            path.write_bytes(changed)
            said: list[str] = []
            found = latest(two, say=said.append)
            assert found is not None
            # A blank of the manifest may become another blank: then nothing that it says has changed.
            assert found.step == 1 or json.loads(changed) == json.loads(content), (name, byte)
        path.write_bytes(content)


def test_damage_to_all_is_an_error_and_never_a_fresh_start(two: Path) -> None:
    for step in two.iterdir():
        (step / "optimizer.safetensors").unlink()
    with pytest.raises(ArtifactError, match="all 2 checkpoints are damaged") as caught:
        latest(two, say=lambda text: None)
    assert "delete this folder" in str(caught.value)


def test_a_checkpoint_under_the_name_of_another_step_is_damaged(two: Path) -> None:
    (two / "step-00000002").rename(two / "step-00000009")
    assert found_in(two)[0] == 1


def test_other_settings_are_refused_with_what_changed(two: Path) -> None:
    changes = {"seed": 2, "lora": {"rank": 8, "targets": ["q"]}, "batch_tokens": 64}
    with pytest.raises(ArtifactError) as caught:
        found_in(two, **changes)
    text = str(caught.value)
    assert "seed: was 1, is now 2" in text
    assert 'lora.targets: was ["q", "v"], is now ["q"]' in text
    assert "batch_tokens: was not set, is now 64" in text
    assert "lora.rank" not in text


def test_a_newer_format_is_refused(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_module, "FORMAT_VERSION", 99)
    save(two, at_step(3))
    monkeypatch.undo()
    with pytest.raises(ArtifactError, match="newer setsail"):
        latest(two, say=pytest.fail)


class Canary:
    """A pickle that would write a file if anybody opened it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_is_never_opened(two: Path, tmp_path: Path) -> None:
    newest = two / "step-00000002"
    torch.save(Canary(tmp_path / "canary"), newest / "optimizer.pt")
    with pytest.raises(ArtifactError, match=r"never pickles.*optimizer\.pt"):
        latest(two, say=pytest.fail)
    shutil.move(newest / "optimizer.pt", newest / "optimizer.safetensors")
    assert found_in(two)[0] == 1
    forge_manifest(newest)  # even with the right hash it is not unpickled
    with pytest.raises(ArtifactError, match="not a whole safetensors file"):
        latest(two, say=pytest.fail)
    assert not (tmp_path / "canary").exists()


def forge_manifest(path: Path) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    del manifest["self"]
    manifest["sha256"]["optimizer.safetensors"] = checkpoint_module.sha256_of(path / "optimizer.safetensors")
    manifest["self"] = checkpoint_module._digest(manifest)
    (path / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(("there", "step", "kept"), [((1, 2), 3, (2, 3)), ((5, 10, 15), 12, (10, 12))])
def test_killed_at_every_call_of_a_save(
    there: tuple[int, ...], step: int, kept: tuple[int, ...], tmp_path: Path
) -> None:
    """Killed at the first, second … call: the newest of before or the new one is there, whole, without a word."""
    for earlier in sorted(there):
        save(tmp_path / "start", at_step(earlier))
    outcomes = []
    for nth in range(1, 1000):
        folder = tmp_path / f"killed-{nth}"
        shutil.copytree(tmp_path / "start", folder)
        child = os.fork()
        if child == 0:
            with fault_at(nth, lambda: os._exit(77)):
                save(folder, at_step(step))
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        found, said = found_in(folder)
        assert said == []
        outcomes.append(found)
        save(folder, at_step(step))
        assert found_in(folder) == (step, [])
        assert sorted(os.listdir(folder)) == [f"step-{number:08d}" for number in kept]
        if status == 0:
            break
        assert status == 77
    assert len(outcomes) > 20 and set(outcomes) == {there[-1], step}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_refused_at_every_call_of_a_save(two: Path, tmp_path: Path, number: int) -> None:
    def refuse() -> None:
        raise OSError(number, os.strerror(number))

    for nth in range(1, 1000):
        folder = tmp_path / f"refused-{nth}"
        shutil.copytree(two, folder)
        with fault_at(nth, refuse) as calls:
            try:
                save(folder, at_step(3))
            except SystemRefusal as error:
                assert "while saving a checkpoint after step 3" in str(error)
        step, said = found_in(folder)
        assert step in (2, 3) and said == []
        save(folder, at_step(4))
        assert found_in(folder) == (4, [])
        if calls[0] < nth:
            break
    assert nth > 20


def test_a_full_disk_leaves_the_checkpoint_before_it(two: Path) -> None:
    large = replace(at_step(3), optimizer={"exp_avg:a": torch.zeros(100_000)})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(SystemRefusal, match="size limit"):
            save(two, large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert sorted(os.listdir(two)) == ["step-00000001", "step-00000002"]
    assert found_in(two) == (2, [])
