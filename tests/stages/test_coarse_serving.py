"""A voyage whose file is Q4_K and whose cache has eight bits: checked as it is served."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from models import toy_model

from setsail.base.errors import CheckRefused, ModelError
from setsail.base.log import Log
from setsail.base.recipe_file import load_recipe
from setsail.base.run import Run
from setsail.stages.answering.serving import served_writers
from setsail.stages.voyage import sail

from .conftest import write_port

QUIET = Log(quiet=True)


def test_it_is_checked_as_it_is_served(tmp_path: Path) -> None:
    path = write_port(tmp_path)
    with pytest.raises(ModelError, match="q4_k has blocks of 256"):  # before training
        sail(path, ["export.weights=[q4_k]"], tmp_path / "runs", until="check", log=QUIET)
    assert "finetune" not in Run(tmp_path / "runs" / "toy").current()
    toy_model.write_folder(tmp_path / "wide", hidden_size=256, intermediate_size=512)
    settings = ["base=wide", "name=wide", "export.weights=[q4_k, q8_0]", "serve.cache=int8"]
    sail(path, settings, tmp_path / "runs", until="check", log=QUIET)
    run = Run(tmp_path / "runs" / "wide")
    findings = json.loads(run.artifact("check").file("faithfulness.json").read_text())["findings"]
    stages = {finding["stage"] for finding in findings}
    assert {"gguf q4_k", "gguf q8_0", "gguf in llama.cpp", "served, 8 at once"} <= stages
    assert all(finding["passed"] for finding in findings)
    assert run.artifact("check").manifest.recipe["cache"] == "int8"
    text = (run.path / "recipe.yaml").read_text()
    (run.path / "recipe.yaml").write_text(text.replace("cache: int8", "cache: f16"))
    with pytest.raises(CheckRefused, match=r"made with serve\.cache int8, and recipe.yaml says f16"):
        served_writers(run, load_recipe(run.path / "recipe.yaml").recipe, log=QUIET)
