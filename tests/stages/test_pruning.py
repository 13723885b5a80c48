"""A pruned base sails an ordinary voyage: what it leaves, what it is checked against, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from setsail.base.errors import CheckRefused, ModelError
from setsail.base.log import Log
from setsail.base.run import Run
from setsail.models.load import load_model
from setsail.stages.learn.pruning import RECORD
from setsail.stages.voyage import sail

from .conftest import write_port, write_stories, write_tickets

pytestmark = pytest.mark.slow
QUIET = Log(quiet=True)


def test_a_decoder_is_pruned_tuned_checked_and_served(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as file:
        settings = ["base={prune: base, layers: 1, heads: 0.5, feed_forward: 64, rows: 8}", "export.weights=[q8_0]"]
        outcome = sail(write_port(tmp_path), settings, tmp_path / "runs", log=Log(stream=file))
    run = Run(Path(outcome["folder"]))
    base, merged = run.artifact("base"), run.artifact("merged")
    record = json.loads(base.file(RECORD).read_text())
    assert record["rows"] == 8 and record["num_parameters"][1] == base.metrics["num_parameters"]
    assert record["sizes"] == {"layers": [2, 1], "heads": [4, 2], "feed_forward": [96, 64]}
    told = (tmp_path / "log").read_text()
    assert (
        "measured    on 8 training rows" in told and "kept        layers 2 → 1" in told and "taken out   layers" in told
    )
    for folder in (base.path, merged.path):
        plain, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
        assert not report["missing_keys"] and plain.num_parameters() == record["num_parameters"][1]
        assert plain.config.num_hidden_layers == 1 and plain.config.num_key_value_heads == 1
    verdict = json.loads(run.artifact("check").file("faithfulness.json").read_text())
    stages = {finding["stage"] for finding in verdict["findings"]}
    assert verdict["passed"] and {"gguf q8_0", "gguf in llama.cpp", "served, 8 at once"} <= stages
    assert (run.artifact("report").path / "report.html").exists()


def test_shares_of_one_are_the_base_itself(tmp_path: Path) -> None:
    path, settings = write_port(tmp_path), ["name=all", "base={prune: base, layers: 1.0, heads: 1.0, rows: 4}"]
    sail(path, ["finetune.epochs=1"], tmp_path / "runs", until="finetune", log=QUIET)
    sail(path, ["finetune.epochs=1", *settings], tmp_path / "runs", until="finetune", log=QUIET)
    whole, pruned = (Run(tmp_path / "runs" / name) for name in ("toy", "all"))
    models = [load_model(run.artifact("base").path, dtype=torch.float32) for run in (whole, pruned)]
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(one, other)
    steps = [run.artifact("finetune").file("steps.jsonl").read_text().splitlines() for run in (whole, pruned)]
    losses = [[json.loads(line)["loss_hex"] for line in lines] for lines in steps]
    assert losses[0] == losses[1]


def test_pretraining_goes_on_from_a_pruned_run_and_other_rows_make_another_base(tmp_path: Path) -> None:
    path = write_stories(tmp_path)
    short = ["pretrain.epochs=1", "pretrain.watch.samples=[]"]
    sail(path, short, tmp_path / "runs", log=QUIET)
    settings = ["name=smaller", "base={prune: runs/new, feed_forward: 0.5, rows: 8}", *short]
    sail(path, settings, tmp_path / "runs", log=QUIET)
    smaller = Run(tmp_path / "runs" / "smaller")
    assert smaller.artifact("check").metrics["passed"]
    first = smaller.artifact("base")
    assert first.metrics["licence"] == "your own" and not first.metrics["pruned"]["layers"]
    sizes = [
        AutoConfig.from_pretrained(Run(tmp_path / "runs" / name).artifact("merged").path) for name in ("new", "smaller")
    ]
    assert sizes[1].intermediate_size < 0.7 * sizes[0].intermediate_size
    sail(path, [*settings, "seed=2"], tmp_path / "runs", until="pretrain", log=QUIET)
    assert smaller.artifact("base").id != first.id


def test_an_encoder_is_pruned_for_a_reading_task(tmp_path: Path) -> None:
    path = write_tickets(tmp_path)
    settings = ["base={prune: encoder, layers: 1, feed_forward: 32, rows: 16}", "finetune.epochs=2"]
    outcome = sail(path, settings, tmp_path / "runs", log=QUIET)
    run = Run(Path(outcome["folder"]))
    config = AutoConfig.from_pretrained(run.artifact("finetune").path)
    assert (config.num_hidden_layers, config.intermediate_size) == (1, 32)
    assert run.artifact("check").metrics["passed"]


def test_what_is_refused(tmp_path: Path) -> None:
    path = write_port(tmp_path)
    for wanted, words in (
        ("{prune: base, heads: 3}", "2 heads share a key"),
        ("{prune: base, layers: 9}", "it has 2"),
        ("{prune: nowhere, layers: 1}", 'base nowhere: unknown base "nowhere"'),
    ):
        with pytest.raises(ModelError, match=words):
            sail(path, [f"base={wanted}"], tmp_path / "runs", until="finetune", log=QUIET)
    sail(path, ["name=unfinished"], tmp_path / "runs", until="export", log=QUIET)
    with pytest.raises(CheckRefused, match="never checked"):
        sail(path, ["base={prune: runs/unfinished, layers: 1}"], tmp_path / "runs", until="finetune", log=QUIET)
