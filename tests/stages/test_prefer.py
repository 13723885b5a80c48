"""Preference tuning as a voyage: what it leaves, what it learns, what is asked only once, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from setsail.base.errors import DataError, RecipeError
from setsail.base.log import Log
from setsail.base.recipe_file import load_recipe
from setsail.base.run import Run
from setsail.evaluate.evaluation import read_evaluation
from setsail.evaluate.prediction import read_predictions
from setsail.models.load import load_model
from setsail.stages.lessons import preferring
from setsail.stages.lessons.preferring import VALIDATION, margins_of
from setsail.stages.voyage import sail
from setsail.tokens.store import FILES, HEADER, open_store
from setsail.train.journal import read_journal

from .conftest import write_pairs, write_rows
from .test_processes import compare, settings_of, torchrun

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kind")
    sail(write_pairs(folder), [], folder / "runs", log=Log(quiet=True))
    return folder


def run_of(port: Path) -> Run:
    return Run(port / "runs" / "kind")


def test_it_leaves_exactly_its_files(port: Path) -> None:
    run = run_of(port)
    assert set(run.artifact("reference").manifest.files) == {*FILES, HEADER, "account.json", VALIDATION}
    adapter = {"adapter_config.json", "adapter_model.safetensors"}
    account = {"plan.json", "steps.jsonl", "validation.jsonl", "training.json", "reference.json"}
    assert set(run.artifact("finetune").manifest.files) == adapter | account
    assert run.artifact("data").metrics["dropped"] == {"same_answers": 1}
    assert not list(run.path.glob("*.partial"))


def test_the_reference_is_what_the_base_says(port: Path) -> None:
    run = run_of(port)
    pairs = open_store(run.artifact("reference").path)
    plain = open_store(run.artifact("tokens").path)
    assert [pair.row_id for pair in pairs] == [pair.row_id for pair in plain] and len(pairs) > 30
    found = margins_of(load_model(run.artifact("base").path, dtype=torch.float32), plain[:])
    np.testing.assert_allclose([float.fromhex(pair.label) for pair in pairs], found[:, 0], rtol=0, atol=0.3)  # in bf16


def test_the_steps_count_pairs_and_validation_begins_at_one_bit(port: Path) -> None:
    finetune = run_of(port).artifact("finetune")
    plan, steps = finetune.metrics["plan"], read_journal(finetune.file("steps.jsonl"))
    assert sum(step["num_supervised"] for step in steps) == plan["num_supervised"] == 4 * plan["num_rows"]
    first, last = finetune.metrics["validation"][0], finetune.metrics["validation"][-1]
    assert first["nats_per_pair"] == pytest.approx(np.log(2), abs=1e-6)
    assert (first["accuracy"], first["margin_nats"]) == (0.5, 0.0)
    assert last["nats_per_pair"] < 0.3 and last["accuracy"] > 0.9 and last["margin_nats"] > 5


def test_the_evaluation_compares_what_both_prefer_and_the_report_says_it(port: Path) -> None:
    run = run_of(port)
    evaluation = read_evaluation(run.artifact("evaluate").file("evaluation.json"))
    comparison = evaluation.comparisons[0]
    assert comparison.lead == "preference_accuracy" and "preference accuracy" in evaluation.verdict
    assert comparison.differences["preference_margin"].gap.low > 0
    rows = read_predictions(run.artifact("evaluate").file("predictions.jsonl"))
    gained = [
        row.systems["tuned"].values["preference_margin"] - row.systems["base"].values["preference_margin"]
        for row in rows
    ]
    assert comparison.differences["preference_margin"].gap.value == pytest.approx(np.mean(gained))
    assert "nearest" in rows[0].systems and "preference_margin" not in rows[0].systems["nearest"].values
    report = run.artifact("report").file("report.md").read_text()
    for words in ("Preference accuracy, tuned", "Nats per pair", "≻ No idea", "Preference margin in nats"):
        assert words in report


def test_another_rate_asks_the_base_nothing_anew(port: Path) -> None:
    before = run_of(port).artifact("reference").path
    stamp = (before / "documents.bin").stat().st_mtime_ns
    sail(port / "kind.yaml", ["finetune.prefer.beta=0.5"], port / "runs", until="finetune", log=Log(quiet=True))
    assert run_of(port).artifact("reference").path == before
    assert (before / "documents.bin").stat().st_mtime_ns == stamp


def test_all_weights_learn_it_too(tmp_path: Path) -> None:
    path = write_pairs(tmp_path)
    settings = ["finetune.method=full", "finetune.learning_rate=0.001", "finetune.prefer.sft=0.1"]
    sail(path, settings, tmp_path / "runs", until="finetune", log=Log(quiet=True))
    curve = run_of(tmp_path).artifact("finetune").metrics["validation"]
    assert curve[-1]["accuracy"] > 0.9 and curve[-1]["nats_per_pair"] < 0.5


def test_under_torchrun_with_shared_weights(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    settings = ["finetune.method=full", "finetune.epochs=1", "finetune.learning_rate=1e-5", "finetune.parallel=sharded"]
    compare(
        tmp_path,
        "finetune",
        "kind.yaml",
        settings,
        torchrun(tmp_path, "finetune", "kind.yaml", *settings_of(*settings)),
    )


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    path = write_pairs(tmp_path)
    for setting, words in (
        ("data.overlong=cut", "a pair of which an answer is cut"),
        ("task=text", "are for task: chat"),
    ):
        with pytest.raises(RecipeError, match=words):
            load_recipe(path, [setting])
    with pytest.raises(RecipeError, match="beta"):
        load_recipe(path, ["finetune.prefer.beta=0"])
    with pytest.raises(DataError, match="pairs of answers") as caught:
        sail(path, ["finetune.prefer=null"], tmp_path / "runs", until="prepare", log=Log(quiet=True))
    assert "prefer" in str(caught.value.hint)
    write_rows(tmp_path / "rows.jsonl")
    with pytest.raises(DataError, match="needs a chosen and a rejected answer"):
        sail(path, ["data.source=rows.jsonl"], tmp_path / "runs", until="prepare", log=Log(quiet=True))


def test_words_of_other_tools_are_understood(tmp_path: Path) -> None:
    path = write_pairs(tmp_path)
    path.write_text("pref_beta: 0.3\ndataset: pairs.jsonl\n", encoding="utf-8")
    prefer = load_recipe(path).recipe.finetune.prefer
    assert prefer is not None and prefer.beta == 0.3


def test_a_reference_that_was_killed_goes_on(port: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was asked stays, the rest is asked, and the store is the same to the byte."""
    shutil.copytree(port / "base", tmp_path / "base")
    for name in ("pairs.jsonl", "kind.yaml"):
        shutil.copy(port / name, tmp_path / name)
    monkeypatch.setattr(preferring, "_PAIRS_AT_ONCE", 8)
    plain, asked = preferring.margins_of, []

    def counted(model, pairs):
        asked.append(len(pairs))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return plain(model, pairs)

    monkeypatch.setattr(preferring, "margins_of", counted)
    with pytest.raises(KeyboardInterrupt):
        sail(tmp_path / "kind.yaml", [], tmp_path / "runs", until="finetune", log=Log(quiet=True))
    draft = next((tmp_path / "runs" / "kind").glob("*reference*.partial"))
    assert len(list(draft.glob("margins-*.json"))) == 1  # the first question is validation's
    sail(tmp_path / "kind.yaml", [], tmp_path / "runs", until="finetune", log=Log(quiet=True))
    pairs = open_store(run_of(tmp_path).artifact("reference").path)
    expected = open_store(run_of(port).artifact("reference").path)
    assert [pair.row_id for pair in pairs] == [pair.row_id for pair in expected]
    known = [float.fromhex(pair.label) for pair in pairs]
    np.testing.assert_allclose(known, [float.fromhex(pair.label) for pair in expected], rtol=0, atol=0.3)
    assert asked.count(8) >= 4
