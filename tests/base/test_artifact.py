"""Artefacts: published whole or not at all, verified when opened, named by what they were made from."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from setsail.base.artifact import Artifact, identity, open_artifact, open_draft, publish
from setsail.base.errors import ArtifactError, DamagedArtifact, SystemRefusal
from setsail.base.files import explained_os_errors, write_atomically


def make(run: Path, id: str = "ab" * 32) -> Artifact:
    draft = open_draft(run, "data", id)
    (draft / "train.parquet").write_bytes(b"rows")
    (draft / "deep").mkdir()
    (draft / "deep" / "more.json").write_text("{}")
    os.chmod(draft / "train.parquet", 0o600)
    return publish(draft, kind="data", id=id, parents={"base": "x"}, recipe={"a": 1}, metrics={"rows": 3})


def test_publish_and_open(tmp_path: Path) -> None:
    made = make(tmp_path)
    again = open_artifact(made.path)
    assert again.manifest == made.manifest
    assert set(again.manifest.files) == {"train.parquet", "deep/more.json"}
    assert again.metrics == {"rows": 3}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data-abababababab"]
    assert (made.path / "train.parquet").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "empty"])
@pytest.mark.parametrize("name", ["train.parquet", "deep/more.json"])
def test_damage_is_named(tmp_path: Path, damage: str, name: str) -> None:
    file = make(tmp_path).path / name
    data = bytearray(file.read_bytes())
    if damage == "flip":
        data[0] ^= 1
        file.write_bytes(bytes(data))
    elif damage == "delete":
        file.unlink()
    else:
        file.write_bytes(bytes(data[:-1]) if damage == "truncate" else b"")
    with pytest.raises(DamagedArtifact, match=Path(name).name):
        open_artifact(file.parent if name == "train.parquet" else file.parent.parent)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format_version": "1"}', '{"format_version": 1, "x": 2}'])
def test_a_damaged_manifest_is_named(tmp_path: Path, text: str) -> None:
    made = make(tmp_path)
    (made.path / "manifest.json").write_text(text)
    with pytest.raises(DamagedArtifact):
        open_artifact(made.path)


def test_a_newer_version_is_refused_but_is_not_damage(tmp_path: Path) -> None:
    made = make(tmp_path)
    manifest = json.loads((made.path / "manifest.json").read_text())
    (made.path / "manifest.json").write_text(json.dumps({**manifest, "format_version": 99}))
    with pytest.raises(ArtifactError, match="newer setsail") as raised:
        open_artifact(made.path)
    assert not isinstance(raised.value, DamagedArtifact)


def test_a_manifest_cannot_point_outside(tmp_path: Path) -> None:
    made = make(tmp_path)
    (tmp_path / "secret").write_text("s")
    manifest = json.loads((made.path / "manifest.json").read_text())
    manifest["files"]["../secret"] = {"bytes": 1, "sha256": "0"}
    (made.path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DamagedArtifact, match="outside"):
        open_artifact(made.path)


def test_identity_is_of_content_and_not_of_order() -> None:
    one = identity("data", {"a": 1, "b": 2}, {"p": "x"}, {"f": 1})
    assert one == identity("data", {"b": 2, "a": 1}, {"p": "x"}, {"f": 1})
    others = [
        identity("gguf", {"a": 1, "b": 2}, {"p": "x"}, {"f": 1}),
        identity("data", {"a": 1, "b": 3}, {"p": "x"}, {"f": 1}),
        identity("data", {"a": 1, "b": 2}, {"p": "y"}, {"f": 1}),
        identity("data", {"a": 1, "b": 2}, {"p": "x"}, {"f": 2}),
    ]
    assert len({one, *others}) == 5


def test_a_draft_survives_only_when_it_is_to_be_kept(tmp_path: Path) -> None:
    draft = open_draft(tmp_path, "finetune", "cd" * 32)
    (draft / "steps.jsonl").write_text("{}")
    (draft / ".plan.json.123.tmp").write_text("half of a fi")
    kept = open_draft(tmp_path, "finetune", "cd" * 32, keep=True)
    assert [path.name for path in kept.iterdir()] == ["steps.jsonl"]
    assert not (open_draft(tmp_path, "finetune", "cd" * 32) / "steps.jsonl").exists()


def test_writing_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "run.json"
    write_atomically(file, "old")

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device", str(file))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SystemRefusal, match="no space is left"), explained_os_errors("saving"):
        write_atomically(file, "new")
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
