"""`setsail compress` on real runs: what it measures, what it writes, what it picks, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from setsail.base.errors import CheckRefused, UserError
from setsail.base.log import Log
from setsail.base.run import Run
from setsail.compress.export import verify_single_rounding
from setsail.evaluate.evaluation import read_evaluation
from setsail.stages.export.compressing import CHOICE, compress_run
from setsail.stages.voyage import sail

from .conftest import write_port, write_tickets

pytestmark = pytest.mark.slow
QUIET = Log(quiet=True)


def test_readers_beside_one_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_tickets(tmp_path)
    sail(path, [], tmp_path / "runs", until="check", log=QUIET)
    small = [
        "name=small",
        "base={prune: runs/desk, layers: 1, feed_forward: 32}",
        "finetune.distil={teacher: runs/desk}",
    ]
    sail(path, [*small, "finetune.epochs=2"], tmp_path / "runs", until="check", log=QUIET)
    desk, other = tmp_path / "runs" / "desk", tmp_path / "runs" / "small"
    made = compress_run(desk, [other], "1GB")
    compared = json.loads((made / "forms.json").read_text())
    original, smaller = compared["forms"]
    assert (compared["metric"], compared["unit"], original["name"], smaller["name"]) == (
        "macro_f1",
        "texts",
        "desk",
        "small",
    )
    evaluation = read_evaluation(made / "evaluation.json")
    assert compared["num_rows"] == evaluation.num_rows > 20
    for form in compared["forms"]:
        assert form["score"]["value"] == evaluation.systems[form["name"]].metrics["macro_f1"].value
        assert form["size_bytes"] >= (Path(form["path"]) / "model.safetensors").stat().st_size
        assert form["per_second"] > 1 and form["peak_bytes"] > 50e6
    assert smaller["size_bytes"] < original["size_bytes"] and original["gap"] is None
    gap = smaller["score"]["value"] - original["score"]["value"]
    assert smaller["gap"]["value"] == pytest.approx(gap) and smaller["gap"]["low"] <= gap <= smaller["gap"]["high"]
    chosen = json.loads((desk / CHOICE).read_text())
    assert chosen["chosen"]["name"] in ("desk", "small") and chosen["target"]["most_bytes"] == 10**9
    page = (made / "compress.html").read_text()
    assert page.count("<svg") == 2 and "macro F1" in page and "Peak memory" in (made / "compress.md").read_text()
    told = capsys.readouterr().err
    assert "taken  " in told and "texts/s" in told
    stamp = (made / "forms.json").stat().st_mtime_ns
    with pytest.raises(CheckRefused, match="no form comes to the target; nearest, small has"):
        compress_run(desk, [other], "1kB")
    assert (made / "forms.json").stat().st_mtime_ns == stamp, "what was measured stands"
    with pytest.raises(UserError, match="one form"):
        compress_run(desk)
    sail(path, ["name=elsewhere", "seed=3", "finetune.epochs=1"], tmp_path / "runs", until="check", log=QUIET)
    with pytest.raises(UserError, match="has learned from other data"):
        compress_run(desk, [tmp_path / "runs" / "elsewhere"])


def test_the_precisions_of_a_decoder(tmp_path: Path) -> None:
    path = write_port(tmp_path)
    settings = ["export.weights=[mixed]", "compress={max_loss: 0.02, rows: 8}"]
    sail(path, settings, tmp_path / "runs", until="check", log=QUIET)
    run = Run(tmp_path / "runs" / "toy")
    made = compress_run(run.path, (), "200kB")
    compared = json.loads((made / "forms.json").read_text())
    assert [form["name"] for form in compared["forms"]] == ["toy f16", "toy q8_0", "toy q4_0", "toy mixed"]
    sizes = [form["size_bytes"] for form in compared["forms"]]
    assert sizes[0] > sizes[1] >= sizes[3] >= sizes[2] and compared["metric"] == "chrf" and compared["unit"] == "tokens"
    for form in compared["forms"]:
        file = made / form["path"]
        assert file.stat().st_size == form["size_bytes"] and form["per_second"] > 0 and form["peak_bytes"] > 10e6
        assert verify_single_rounding(run.artifact("merged").path, file) == []
    precision = run.artifact("precision")
    assert precision.metrics["loss"] <= 0.02 and run.artifact("gguf").manifest.parents["precision"] == precision.id
    findings = json.loads(run.artifact("check").file("faithfulness.json").read_text())["findings"]
    assert "gguf mixed" in {finding["stage"] for finding in findings}
    bits = read_evaluation(made / "evaluation.json").systems
    assert bits["toy q8_0"].metrics["bits_per_byte"].value != bits["toy q4_0"].metrics["bits_per_byte"].value
    chosen = json.loads((run.path / CHOICE).read_text())["chosen"]
    assert Path(chosen["path"]).is_file() and chosen["size_bytes"] <= 200_000
