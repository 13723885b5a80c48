"""A chat model as a bundle: GGUF, its template and one small program, which writes what the checked file wrote."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from setsail.base.artifact import open_artifact
from setsail.base.errors import ArtifactError, UserError
from setsail.base.log import Log
from setsail.base.run import Run
from setsail.stages.export.bundle import bundle_run
from setsail.stages.voyage import sail

from .conftest import write_port, write_stories, write_tickets
from .test_onnx import ASIDE

pytestmark = pytest.mark.slow


def test_a_chat_model_runs_by_itself(tmp_path: Path) -> None:
    sail(write_port(tmp_path), [], tmp_path / "runs", log=Log(quiet=True))
    run = tmp_path / "runs" / "toy"
    folder = bundle_run(run, weights="q4_0")
    assert folder == run / "bundle-q4_0"
    made = open_artifact(folder)
    assert {"model.gguf", "text.json", "run.py", "requirements.txt", "README.md", "LICENCES.md", "report.html"} <= set(
        made.manifest.files
    )
    assert "chat_template.jinja" in made.manifest.files
    assert (folder / "model.gguf").read_bytes() == Run(run).artifact("gguf").file("model-q4_0.gguf").read_bytes()
    assert (folder / "requirements.txt").read_text().startswith("xllamacpp==")
    assert made.metrics["trial"]["peak_bytes"] > 10_000_000
    line = json.dumps({"text": "What is it that the cat likes today?", "max_tokens": 5})
    command = [sys.executable, "-c", ASIDE, str(folder / "run.py"), line]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert isinstance(json.loads(done.stdout)["output"], str)


def test_a_model_that_goes_on_with_texts_runs_by_itself(tmp_path: Path) -> None:
    sail(write_stories(tmp_path), ["pretrain.epochs=1"], tmp_path / "runs", log=Log(quiet=True))
    folder = bundle_run(tmp_path / "runs" / "new", out=tmp_path / "edge")
    assert json.loads((folder / "text.json").read_text())["chats"] is False
    assert open_artifact(folder).metrics["weights"] == "q8_0"


def test_what_has_no_form_for_the_edge_is_told(tmp_path: Path) -> None:
    sail(write_tickets(tmp_path), ["finetune.epochs=1"], tmp_path / "runs", until="check", log=Log(quiet=True))
    with pytest.raises(ArtifactError, match="exported no ONNX files"):
        bundle_run(tmp_path / "runs" / "desk")
    with pytest.raises(UserError, match="is not the folder of a run"):
        bundle_run(tmp_path / "nothing")
