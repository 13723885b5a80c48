"""`setsail tune` on a toy: what it leaves, that it goes on, that the test stays unseen, and what it refuses."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from setsail.base.artifact import open_artifact
from setsail.base.errors import DataError, RecipeError, UserError
from setsail.base.log import Log
from setsail.base.recipe_file import LoadedRecipe, load_recipe
from setsail.base.run import Run
from setsail.stages.moved import moved
from setsail.stages.search.space import known_settings, own_settings, recipe_with, space_of
from setsail.stages.search.trial import TRIALS, Trying
from setsail.stages.search.tuning import tune
from setsail.stages.voyage import sail
from setsail.tune.space import Choices, Range
from setsail.tune.trial import Forecast, Watch

from .conftest import write_port, write_stories, write_tickets

pytestmark = pytest.mark.slow
SPACE = "finetune.learning_rate: {low: 1e-4, high: 3e-2, log: true}, finetune.epochs: [2, 4]"
SETTINGS = ["finetune.epochs=2", f"tune={{trials: 4, space: {{base: [linear, encoder], {SPACE}}}}}"]


class Said(Log):
    """What was said, line by line."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.lines: list[str] = []

    def say(self, text: str = "") -> None:
        self.lines.append(text)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a search of four trials has ended."""
    folder = tmp_path_factory.mktemp("tuned")
    tune(write_tickets(folder), SETTINGS, folder / "runs", log=Log(quiet=True))
    return folder


def record(port: Path) -> dict[str, Any]:
    return json.loads((port / "runs" / "desk" / "tune" / "tune.json").read_text("utf-8"))


def test_a_search_leaves_its_record_its_page_and_the_best_recipe(port: Path) -> None:
    folder = port / "runs" / "desk" / "tune"
    found = record(port)
    assert [trial["state"] for trial in found["trials"]] == ["complete"] * 4 and found["measure"] == "nats_per_row"
    assert found["trials"][0]["settings"] == {"base": "linear", "linear.inverse_penalty": 10.0}
    scores = [trial["score"] for trial in found["trials"]]
    assert found["trials"][found["best"]]["score"] == min(scores)
    assert {"macro_f1", "accuracy", "nats_per_row"} <= set(found["test"])
    for name in ("tune.html", "tune.md", "best.yaml", "study.db"):
        assert (folder / name).is_file(), name
    assert "search never saw" in (folder / "tune.md").read_text("utf-8")


def test_only_the_best_weights_are_kept(port: Path) -> None:
    found, folder = record(port), port / "runs" / "desk" / "tune"
    best = found["trials"][found["recipe_trial"]]
    assert [path.name for path in folder.glob("finetune-*")] == [best["facts"]["folder"]]


def test_the_best_recipe_sails_and_what_the_search_trained_is_taken(port: Path) -> None:
    found, run = record(port), port / "runs" / "desk"
    best = found["trials"][found["recipe_trial"]]
    recipe = load_recipe(run / "tune" / "best.yaml").recipe
    assert recipe.name == "desk" and recipe.tune is None
    assert recipe.finetune.learning_rate == best["settings"].get("finetune.learning_rate", 0.01)
    assert not (run / "run.json").exists(), "the run's own state is left alone"
    said = Said()
    sail(run / "tune" / "best.yaml", [], port / "runs", until="finetune", log=said)
    assert all(f"✓ {stage:<10} unchanged" in said.text for stage in ("data", "base", "finetune"))
    assert Run(run).artifact("finetune").path.name == best["facts"]["folder"]


def test_the_same_command_tries_nothing_anew(port: Path) -> None:
    before, said = record(port)["trials"], Said()
    tune(port / "desk.yaml", SETTINGS, port / "runs", log=said)
    assert "going on with a search of 4 trials" in said.text and "trial 4" not in said.text
    assert record(port)["trials"] == before


def test_more_trials_go_on_from_there(port: Path) -> None:
    before = record(port)["trials"]
    outcome = tune(port / "desk.yaml", [*SETTINGS, "tune.trials=5"], port / "runs", log=Log(quiet=True))
    assert record(port)["trials"][:4] == before and outcome["trials"] == 5


def test_another_recipe_is_another_search(port: Path) -> None:
    said = Said()
    settings = [*SETTINGS, "finetune.warmup=0.1", "tune.trials=1"]
    outcome = tune(port / "desk.yaml", settings, port / "runs", log=said)
    assert "have changed since the last search: a new one begins" in said.text and outcome["trials"] == 1


def test_the_labels_of_the_test_play_no_part(tmp_path: Path) -> None:
    recipe = write_tickets(tmp_path)
    sail(recipe, [], tmp_path / "runs", until="prepare", log=Log(quiet=True))
    data = Run(tmp_path / "runs" / "desk").artifact("data").path
    scores = []
    for number, label in enumerate(("as they are", "log in")):
        folder = tmp_path / str(number)
        (folder / TRIALS).mkdir(parents=True)
        copy = folder / data.name
        shutil.copytree(data, copy)
        if label == "log in":
            rows = pq.read_table(copy / "test.parquet")
            place = rows.schema.get_field_index("label")
            said = pa.array([label] * len(rows), rows.schema.field("label").type)
            pq.write_table(rows.set_column(place, rows.schema.field("label"), said), copy / "test.parquet")
        there = moved(load_recipe(recipe).recipe, tmp_path, folder)
        trying = Trying(there, folder / "desk.yaml", copy)
        watch = Watch(number, planned=lambda forecast: None, reached=lambda tick, score: None)
        for settings in ({"base": "linear"}, {"finetune.epochs": 1}):
            scores.append(trying(settings, watch).score)
    assert scores[:2] == scores[2:]


def test_a_trial_tells_its_plan_and_its_scores_on_the_way(tmp_path: Path) -> None:
    recipe = write_tickets(tmp_path)
    sail(recipe, [], tmp_path / "runs", until="prepare", log=Log(quiet=True))
    folder, told, reached = tmp_path / "there", [], {}
    (folder / TRIALS).mkdir(parents=True)
    there = moved(load_recipe(recipe).recipe, tmp_path, folder)
    trying = Trying(there, folder / "desk.yaml", Run(tmp_path / "runs" / "desk").artifact("data").path)
    result = trying({"finetune.epochs": 3}, Watch(0, told.append, reached.__setitem__))
    (forecast,) = told
    assert isinstance(forecast, Forecast) and forecast.seconds > 0 and forecast.memory_bytes > 1e6
    assert list(reached) == sorted(reached) and 2 <= len(reached) <= 9
    curve = open_artifact(folder / result.folder).metrics["validation"]
    assert result.score == curve[-1]["nats_per_row"] and result.facts["accuracy"] == curve[-1]["accuracy"]
    assert min(curve[0]["nats_per_row"], result.score) <= min(reached.values())


def test_killed_and_started_again_it_ends_as_one_never_stopped(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    space = "tune={trials: 3, space: {finetune.learning_rate: {low: 1e-4, high: 3e-2, log: true}}}"
    settings = ["finetune.epochs=4", "finetune.watch={save_every: 1, validate_every: 3}", space]
    for folder in (whole, killed):
        folder.mkdir()
        write_tickets(folder)
    tune(whole / "desk.yaml", settings, whole / "runs", log=Log(quiet=True))
    options = [part for setting in settings for part in ("--set", setting)]
    command = [sys.executable, "-m", "setsail", "tune", "desk.yaml", *options]
    running = subprocess.Popen(command, cwd=killed, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while running.poll() is None and not begun(killed / "runs" / "desk" / "tune", 1):
        time.sleep(0.01)
    running.kill()
    assert running.wait() == -signal.SIGKILL
    said = Said()
    tune(killed / "desk.yaml", settings, killed / "runs", log=said)
    assert "trial 1 was running when the search was stopped: it goes on" in said.text
    trials = [record(folder)["trials"] for folder in (whole, killed)]
    ended = [
        [(trial["number"], trial["state"], trial["settings"], trial["score"]) for trial in each] for each in trials
    ]
    assert ended[0] == ended[1] and len(ended[0]) == 3
    assert [trial["attempts"] for trial in trials[1]] == [1, 2, 1]
    log = (killed / "runs" / "desk" / "tune" / TRIALS / "1.log").read_text("utf-8")
    assert "going on after step" in log


def begun(folder: Path, number: int) -> bool:
    """Whether trial `number` is in the middle of its steps."""
    drafts = [draft for draft in folder.glob("finetune-*.partial") if (draft / "steps.jsonl").exists()]
    log = folder / TRIALS / f"{number}.log"
    return log.exists() and any((draft / "steps.jsonl").read_bytes().count(b"\n") > 2 for draft in drafts)


def test_a_language_model_is_searched_too(tmp_path: Path) -> None:
    write_port(tmp_path)
    settings = ["finetune.epochs=1", "tune={trials: 2, space: {finetune.lora.rank: [2, 4]}}", "evaluate.max_rows=2"]
    tune(tmp_path / "toy.yaml", settings, tmp_path / "runs", log=Log(quiet=True))
    found = json.loads((tmp_path / "runs" / "toy" / "tune" / "tune.json").read_text("utf-8"))
    assert found["measure"] == "bits_per_byte" and found["test"]
    assert {trial["settings"]["finetune.lora.rank"] for trial in found["trials"]} <= {2, 4}


def loaded(folder: Path, *settings: str, name: str = "desk") -> LoadedRecipe:
    return load_recipe(folder / f"{name}.yaml", settings)


def test_the_space_that_a_task_suggests(port: Path, tmp_path: Path) -> None:
    base = open_artifact(next((port / "runs" / "desk" / "tune").glob("base-*")))
    space = space_of(loaded(port, "finetune.learning_rate=0.01"), base)
    assert space.kind == "base" and space.settings["base"].values == Choices(("linear", "encoder"))
    assert space.settings["finetune.learning_rate"].values == Range(0.01 / 8, 0.08, log=True)
    assert space.settings["finetune.epochs"].values == Choices((5.0, 10.0, 20.0))
    own = own_settings(loaded(port).recipe, base, space)
    assert space.holds(own) and recipe_with(loaded(port).recipe, own).finetune == loaded(port).recipe.finetune
    write_port(tmp_path)
    write_stories(tmp_path)
    chat = space_of(loaded(tmp_path, name="toy"), base)
    assert chat.kind == "" and chat.settings["finetune.lora.rank"].values == Choices((2, 4, 8))
    new = space_of(loaded(tmp_path, name="new"), base)
    assert new.settings["pretrain.optimizer"].values == Choices(("muon", "adamw"))
    assert all(
        space_of(loaded(tmp_path, name=n), base).holds(own_settings(loaded(tmp_path, name=n).recipe, base, s))
        for n, s in (("toy", chat), ("new", new))
    )


@pytest.mark.parametrize(
    ("space", "words", "hint"),
    [
        ("{finetune.learnin_rate: [1]}", 'no setting "finetune.learnin_rate"', '"finetune.learning_rate"'),
        ("{data.max_rows: [10, 20]}", 'no setting "data.max_rows"', "known: base"),
        ("{finetune.context: [32, 64]}", 'no setting "finetune.context"', ""),
        ("{finetune.epochs: [2, many]}", "'many' cannot be tried", ""),
        ("{finetune.warmup: {low: 0.1, high: 2}}", "2.0 cannot be tried", ""),
        ("{finetune.optimizer: [adamw, lion]}", "'lion' cannot be tried", ""),
        ("{base: {low: 1, high: 2}}", "chosen from a list", "linear"),
        ("{linear.inverse_penalty: [1, 10]}", "linear model, which is not tried", "base: [linear"),
        ("{base: [linear], linear.inverse_penalty: [0, 10]}", "0 should be a number above 0", ""),
    ],
)
def test_what_cannot_be_tried_is_refused(space: str, words: str, hint: str, port: Path) -> None:
    base = open_artifact(next((port / "runs" / "desk" / "tune").glob("base-*")))
    with pytest.raises(RecipeError, match=words) as raised:
        space_of(loaded(port, f"tune={{space: {space}}}"), base)
    assert hint in str(raised.value.hint) and "desk.yaml" in str(raised.value.place)


def test_every_known_setting_is_one_of_the_recipe(tmp_path: Path) -> None:
    write_port(tmp_path)
    recipe = loaded(tmp_path, name="toy").recipe
    base = {"base": "base"}
    for name in known_settings(recipe):
        value: Any = recipe.resolved()
        for part in name.split("."):
            value = value[part]
        changed = recipe_with(recipe, {name: value, **base})
        assert changed.model_dump(exclude={"tune"}) == recipe.model_dump(exclude={"tune"})


def test_without_validation_nothing_can_be_judged(tmp_path: Path) -> None:
    recipe = write_tickets(tmp_path)
    with pytest.raises(DataError, match="no validation row") as raised:
        tune(recipe, ["data.split.validation=0"], tmp_path / "runs", log=Log(quiet=True))
    assert "data.split.validation: 0.1" in str(raised.value.hint) and "desk.yaml" in str(raised.value.place)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("budget", "words"), [("30 potatoes", "is no span of time"), ("0m", "leaves no time")])
def test_a_budget_of_nothing_is_refused_before_anything_is_made(budget: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        tune(write_tickets(tmp_path), [], tmp_path / "runs", budget=budget, log=Log(quiet=True))
    assert not (tmp_path / "runs").exists()


def test_a_recipe_that_was_moved_reads_the_same_files(tmp_path: Path) -> None:
    recipe = write_tickets(tmp_path)
    settings = ("data.keep_out=[tickets.csv]", "tune={space: {base: [linear, encoder, minilm-l6]}}")
    there = moved(load_recipe(recipe, settings).recipe, tmp_path, tmp_path / "runs" / "desk" / "tune")
    assert there.data.source == "../../../tickets.csv" and there.base == "../../../encoder"
    assert there.data.keep_out == ("../../../tickets.csv",) and there.tune is not None
    assert there.tune.space["base"] == ("linear", "../../../encoder", "minilm-l6")
    package = load_recipe(recipe, ["data.source=docstrings:numpy", "base=owner/name"]).recipe
    still = moved(package, tmp_path, tmp_path / "runs")
    assert (still.data.source, still.base) == ("docstrings:numpy", "owner/name")
