"""Rows with calls of tools on a whole voyage: what is learned of them, and how the calls are scored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from models import toy_model

from setsail.base.log import Log
from setsail.base.run import Run
from setsail.evaluate.evaluation import read_evaluation
from setsail.stages.kinds import tokenizer_of
from setsail.stages.voyage import sail
from setsail.tokens.render import describe
from setsail.tokens.store import open_store

from .conftest import RECIPE, TOYS, VERBS

pytestmark = pytest.mark.slow


def write_calls(folder: Path) -> Path:
    toy_model.write_folder(folder / "base", max_position_embeddings=1024)
    tools = [{"name": "find", "parameters": {"type": "object"}}]
    rows = []
    for number, (toy, verb) in enumerate((toy, verb) for toy in TOYS for verb in VERBS):
        call = {"function": {"name": "find", "arguments": json.dumps({"toy": toy, "verb": verb})}}
        turns = [
            {"role": "user", "content": f"Who {verb} the {toy} number {number}?"},
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "content": f"nobody {verb} it"},
            {"role": "assistant", "content": f"Nobody {verb} the {toy}."},
        ]
        rows.append({"messages": turns if number % 2 else turns[:2], "tools": tools})
    rows.append({"messages": [rows[0]["messages"][0], turns[2], turns[3]], "tools": tools})
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    path = folder / "toy.yaml"
    path.write_text(RECIPE.replace("context: 240", "context: 900").replace("context: 256", "context: 1024"), "utf-8")
    return path


def test_a_voyage_with_tools(tmp_path: Path) -> None:
    path = write_calls(tmp_path)
    settings = ["finetune.epochs=1", "export.weights=[q8_0]", "evaluate.max_rows=12"]
    sail(path, settings, tmp_path / "runs", log=Log(quiet=True))
    run = Run(tmp_path / "runs" / "toy")
    assert run.artifact("data").metrics["dropped"] == {"result_without_call": 1}

    tokenizer = tokenizer_of(run.artifact("base"))
    for example in open_store(run.artifact("tokens").path):
        learned = "".join(text for text, supervised in describe(example, tokenizer) if supervised)
        assert learned.startswith('<tool_call>\n{"name": "find"') and "nobody" not in learned

    evaluation = read_evaluation(run.artifact("evaluate").file("evaluation.json"))
    for name in ("tuned", "base", "nearest"):
        metrics = evaluation.systems[name].metrics
        assert 0 < metrics["tool_arguments"].num_units < evaluation.num_rows
    assert evaluation.systems["nearest"].metrics["tool_name"].value > 0
    assert "Right tool and right call" in run.artifact("report").file("report.md").read_text()
