"""Runs: what is current, one writer at a time, and folders from the future."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from setsail.base.artifact import open_draft, publish
from setsail.base.errors import ArtifactError, SystemRefusal
from setsail.base.run import Run, find_runs


def test_a_stage_is_noted_and_found(tmp_path: Path) -> None:
    run = Run(tmp_path / "support")
    draft = open_draft(run.path, "data", "ab" * 32)
    artifact = publish(draft, kind="data", id="ab" * 32, parents={}, recipe={}, metrics={})
    run.note("data", artifact)
    assert run.artifact("data").id == artifact.id
    assert [found.path for found in find_runs(tmp_path)] == [run.path]


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such run"):
        Run(tmp_path / "x").artifact("data")
    (tmp_path / "x").mkdir()
    with pytest.raises(ArtifactError, match="not been made"):
        Run(tmp_path / "x").artifact("data")


def test_a_newer_run_and_a_damaged_note(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"format_version": 9, "stages": {}}))
    with pytest.raises(ArtifactError, match="newer setsail"):
        Run(tmp_path).current()
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ArtifactError, match="cannot be read"):
        Run(tmp_path).current()


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    run = Run(tmp_path / "support")
    code = (
        "import sys; from pathlib import Path; from setsail.base.run import Run\n"
        "with Run(Path(sys.argv[1])).locked(): pass"
    )
    with run.locked():
        other = subprocess.run([sys.executable, "-c", code, str(run.path)], capture_output=True, text=True, check=False)
        assert "another setsail is working" in other.stderr
    again = subprocess.run([sys.executable, "-c", code, str(run.path)], capture_output=True, text=True, check=False)
    assert again.returncode == 0


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemRefusal), Run(tmp_path / "file").locked():
        raise AssertionError("nobody gets in")
