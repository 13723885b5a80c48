"""Encoders that leave as ONNX: the files of a whole voyage, the check over them, and the same lines without torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
import pytest

from setsail.base.artifact import Artifact, open_artifact
from setsail.base.errors import ArtifactError, CheckRefused, RecipeError, UserError
from setsail.base.log import Log
from setsail.base.run import Run
from setsail.compress.onnx_export import quantise
from setsail.models.onnx_model import load_onnx, read_settings
from setsail.stages.answering.onnx_predictors import predictor_of
from setsail.stages.answering.predicting import predict_with_run
from setsail.stages.checks import reader, search
from setsail.stages.export.bundle import bundle_run
from setsail.stages.scores.evaluating import evaluate_run
from setsail.stages.voyage import sail
from setsail.tasks.prediction import question_of

from . import test_reading_tasks, test_search
from .conftest import write_tickets
from .over_http import over_http, predictions, printed

pytestmark = pytest.mark.slow
ONNX = "export={format: onnx}"
QUESTIONS: dict[str, tuple[str, ...]] = {
    "classify": ("the invoice is wrong 17", "my password is wrong", "快递坏了", "the parcel came late " * 30),
    "tag": ("parcel box late anna lives in rome invoice", "parcel box " * 45 + "anna lives in rome"),
    "find": ("late parcel 3", "wrong invoice", "again " * 40),
    "order": ("the late parcel 3", "login app please 4", "help " * 60),
}


def reading_recipe(task: str, folder: Path) -> Path:
    """The recipe of a task of test_reading_tasks, which exports ONNX."""
    test_reading_tasks.encoder(folder / "encoder")
    rows = test_reading_tasks.MAKERS[task](Random(7))
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    overlong = "split" if task in test_reading_tasks.LONG else "drop"
    path = folder / f"{task}.yaml"
    path.write_text(
        f"""
name: {task}
task: {"classify" if task == "labels" else task}
base: ./encoder
data: {{source: rows.jsonl, near_duplicates: 1.0, clean: none, overlong: {overlong}}}
finetune: {{epochs: 12, batch_tokens: 128, context: 64, learning_rate: 4e-3}}
evaluate: {{resamples: 100, samples: 3}}
check: {{prompts: 8}}
""",
        encoding="utf-8",
    )
    return path


@pytest.fixture(scope="module", params=list(QUESTIONS))
def port(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The name of a task and the folder of its run."""
    name = request.param
    folder = tmp_path_factory.mktemp(name)
    if name == "classify":
        recipe = write_tickets(folder)
    elif name in ("find", "order"):
        test_search.write_port(folder)
        recipe = folder / f"{name}.yaml"
    else:
        recipe = reading_recipe(name, folder)
    made = sail(recipe, [ONNX], folder / "runs", log=Log(quiet=True))
    return name, Path(made["folder"])


def artifact(run: Path, stage: str) -> Artifact:
    return Run(run).artifact(stage)


def options(name: str) -> dict[str, Any]:
    return {"query": "late parcel"} if name == "order" else {}


def test_the_files_are_those_that_were_asked_for(port: tuple[str, Path]) -> None:
    name, run = port
    made = artifact(run, "onnx")
    beside = {"onnx.json", "tokenizer.json", "tokenizer_config.json"}
    assert set(made.manifest.files) == {"model-f32.onnx", "model-int8.onnx"} | beside
    for weights in ("f32", "int8"):
        file = onnx.load(str(made.file(f"model-{weights}.onnx")))
        onnx.checker.check_model(file)
        axes = file.graph.input[0].type.tensor_type.shape.dim
        assert all(axis.dim_param for axis in axes), "batch and length are open"
    small, large = (made.file(f"model-{weights}.onnx").stat().st_size for weights in ("int8", "f32"))
    assert small < large
    settings = read_settings(made.path)
    assert settings.task == {"find": "embed", "order": "rank"}.get(name, name)
    assert settings.says == ("vectors" if name == "find" else "logits")


def test_the_check_speaks_of_every_precision(port: tuple[str, Path]) -> None:
    run = port[1]
    findings = json.loads(artifact(run, "check").file("faithfulness.json").read_text("utf-8"))["findings"]
    stages = {finding["stage"] for finding in findings}
    assert stages == {
        *("folder, 1 at once", "folder, 8 at once"),
        *("onnx f32, 1 at once", "onnx f32, 8 at once", "onnx int8, 1 at once"),
    }
    exact = [each for each in findings if "f32" in each["stage"] and "largest difference" in each["check"]]
    assert len(exact) == 2 and all(each["limit"] == 1e-3 and each["value"] < 1e-4 for each in exact)


def test_eight_bits_stand_beside_the_model_in_the_evaluation(port: tuple[str, Path]) -> None:
    run = port[1]
    found = json.loads(artifact(run, "evaluate").file("evaluation.json").read_text("utf-8"))
    assert {"tuned", "int8"} <= set(found["systems"])
    pairs = [(each["system"], each["against"]) for each in found["comparisons"]]
    assert ("tuned", "int8") in pairs and pairs[0] != ("tuned", "int8")
    metrics = found["systems"]["int8"]["metrics"]
    assert set(metrics) == set(found["systems"]["tuned"]["metrics"])
    first = next(iter(metrics.values()))
    assert first["low"] <= first["value"] <= first["high"]
    rungs = {rung["system"]: rung["cost"]["making"] for rung in found["ladder"]["rungs"]}
    assert rungs["int8"] > rungs["tuned"]
    assert "8 bits" in (artifact(run, "report").path / "report.md").read_text("utf-8")


def test_the_command_says_the_same_lines(
    port: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, run = port
    ours, theirs = (
        printed(capsys, run, *QUESTIONS[name], folder=tmp_path, engine=engine, **options(name))
        for engine in ("torch", "onnx")
    )
    assert len(ours) == len(QUESTIONS[name]) and alike(ours, theirs)
    if name in ("classify", "find", "order"):
        assert any(line.get("cut") for line in theirs)


def alike(ours: Any, theirs: Any) -> bool:
    """The same, numbers within a thousandth."""
    if isinstance(ours, float):
        return ours == pytest.approx(theirs, abs=1e-3)
    if isinstance(ours, dict):
        return ours.keys() == theirs.keys() and all(alike(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, list):
        return len(ours) == len(theirs) and all(map(alike, ours, theirs))
    return ours == theirs


def test_the_server_says_them_too(port: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name, run = port
    asked: list[Any] = [json.loads(each) if each.startswith("{") else each for each in QUESTIONS[name]]
    body = {"query": "late parcel", "texts": asked} if name == "order" else {"inputs": asked}
    with over_http(run, engine="onnx") as post:
        said = predictions(post, body)
    assert alike(said, printed(capsys, run, *QUESTIONS[name], folder=tmp_path, engine="onnx", **options(name)))


def test_no_torch_is_imported_on_the_way(port: tuple[str, Path]) -> None:
    name, run = port
    code = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None\n"
        "from pathlib import Path\n"
        "from setsail.stages.answering.predicting import predict_with_run\n"
        "predict_with_run(Path(sys.argv[1]), sys.argv[2], engine='onnx', query=sys.argv[3] or None)\n"
    )
    query = options(name).get("query", "")
    command = [sys.executable, "-c", code, str(run), QUESTIONS[name][0], query]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout).keys() - {"text"}


def test_a_file_of_another_model_is_refused_by_its_name(port: tuple[str, Path], tmp_path: Path) -> None:
    name, run = port
    made = artifact(run, "onnx")
    broken = tmp_path / "onnx"
    shutil.copytree(made.path, broken)
    path = broken / "model-f32.onnx"
    file = onnx.load(str(path))
    largest = max(
        (each for each in file.graph.initializer if each.data_type == onnx.TensorProto.FLOAT),
        key=lambda each: int(np.prod(each.dims)),
    )
    values = onnx.numpy_helper.to_array(largest)
    noise = np.random.default_rng(1).normal(0, 3 * values.std() + 0.3, values.shape).astype(np.float32)
    largest.CopyFrom(onnx.numpy_helper.from_array(values + noise, largest.name))
    onnx.save_model(file, str(path))
    quantise(path, broken / "model-int8.onnx")
    check = search if name in ("find", "order") else reader
    verdict = check.check_exported(artifact(run, "finetune"), Artifact(broken, made.manifest))
    assert verdict.breach is not None and verdict.breach.stage == "onnx f32, 1 at once"
    assert any("int8" in each.stage and not each.passed for each in verdict.findings)
    with pytest.raises(CheckRefused, match="onnx f32"):
        verdict.refuse_on_breach()


def test_rows_that_came_later_are_asked_of_both(tmp_path: Path) -> None:
    sail(write_tickets(tmp_path), [ONNX, "finetune.epochs=2"], tmp_path / "runs", log=Log(quiet=True))
    run = tmp_path / "runs" / "desk"
    (tmp_path / "later.csv").write_text(
        "text,label\n" + "".join(f"the box {n} is late,delivery\nwrong sum {n},billing\n" for n in range(12))
    )
    made = evaluate_run(run, data=str(tmp_path / "later.csv"))
    found = json.loads(made.file("evaluation.json").read_text("utf-8"))
    assert "int8" in found["systems"]
    exported = Run(run).artifact("onnx")
    sail(tmp_path / "desk.yaml", ["finetune.epochs=2"], tmp_path / "runs", log=Log(quiet=True))
    assert Run(run).artifact("onnx").id == exported.id  # it still stands there, but nobody checked it
    with pytest.raises(CheckRefused, match="another model than the one here"):
        predict_with_run(run, "help", engine="onnx")
    assert (
        "int8"
        not in json.loads(
            evaluate_run(run, data=str(tmp_path / "later.csv")).file("evaluation.json").read_text("utf-8")
        )["systems"]
    )


def test_only_int8_leaves_only_int8(tmp_path: Path) -> None:
    recipe = write_tickets(tmp_path)
    made = sail(
        recipe,
        ["export={format: onnx, weights: int8}", "finetune.epochs=1"],
        tmp_path / "runs",
        until="export",
        log=Log(quiet=True),
    )
    folder = Path(made["stages"]["export"])
    assert {path.name for path in folder.glob("*.onnx")} == {"model-int8.onnx"}
    assert load_onnx(folder).alone
    with pytest.raises(CheckRefused, match="never checked"):
        predict_with_run(tmp_path / "runs" / "desk", "help", engine="onnx")


def test_what_has_no_files_is_told_how_to_get_them(tmp_path: Path) -> None:
    sail(write_tickets(tmp_path), ["finetune.epochs=1"], tmp_path / "runs", until="check", log=Log(quiet=True))
    run = tmp_path / "runs" / "desk"
    with pytest.raises(ArtifactError, match=r"exported no ONNX[\s\S]*export: {format: onnx}"):
        predict_with_run(run, "help", engine="onnx")
    with pytest.raises(UserError, match='no engine "onxx" predicts'):
        predict_with_run(run, "help", engine="onxx")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["task=chat", ONNX], "task chat leaves as gguf or safetensors"),
        (["task=classify", "export={format: onnx, weights: [q8_0]}"], "q8_0 is no precision of format onnx"),
        (["task=classify", "export={weights: [int8]}"], "int8 is no precision of format gguf"),
        (["task=classify", "export={format: onnx, weights: [int8, int8]}"], "say each precision once"),
        (["task=classify", "serve={engine: onnx}"], "the engine onnx runs what format: onnx exports"),
    ],
)
def test_recipes_that_mix_formats_are_refused(settings: list[str], words: str, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("name: r\ndata: {source: t.csv}\n", encoding="utf-8")
    with pytest.raises(RecipeError, match=words):
        sail(path, settings, tmp_path / "runs", log=Log(quiet=True))


ASIDE = """
import runpy, sys
for name in ("torch", "transformers", "setsail", "pyarrow"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_bundle_runs_by_itself(port: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name, run = port
    folder = bundle_run(run, out=tmp_path / "edge")
    made = open_artifact(folder)  # every file against its SHA-256
    assert set(made.manifest.files) == {
        *("model.onnx", "onnx.json", "tokenizer.json", "tokenizer_config.json", "run.py", "requirements.txt"),
        *("README.md", "LICENCES.md", "report.html"),
    }
    assert (folder / "model.onnx").read_bytes() == artifact(run, "onnx").file("model-int8.onnx").read_bytes()
    assert "onnxruntime==" in (folder / "requirements.txt").read_text()
    assert made.metrics["trial"]["first_seconds"] > made.metrics["trial"]["next_seconds"] >= 0
    assert made.metrics["trial"]["peak_bytes"] > 10_000_000
    question = QUESTIONS[name][0]
    if name == "order":
        question = json.dumps({"query": "late parcel", "text": question})
    command = [sys.executable, "-c", ASIDE, str(folder / "run.py"), question]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    model = predictor_of(load_onnx(artifact(run, "onnx").path, "int8"))
    fields = json.loads(question) if question.startswith("{") else {"text": question}
    expected = next(iter(model.answers([question_of(model, fields)]))).line()
    assert alike(expected, {key: value for key, value in said.items() if key in expected})
    assert set(said) >= set(expected)


def test_a_bundle_takes_the_precision_that_is_named(port: tuple[str, Path], tmp_path: Path) -> None:
    name, run = port
    if name != "classify":
        pytest.skip("one run is enough")
    folder = bundle_run(run, out=tmp_path / "edge", weights="f32")
    assert (folder / "model.onnx").read_bytes() == artifact(run, "onnx").file("model-f32.onnx").read_bytes()
    before = (folder / "manifest.json").read_text()
    assert bundle_run(run, out=tmp_path / "edge") == folder and (folder / "manifest.json").read_text() != before
    with pytest.raises(UserError, match='nothing was exported as "q8_0"'):
        bundle_run(run, out=tmp_path / "other", weights="q8_0")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="is there and is no bundle"):
        bundle_run(run, out=tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]


OTHER_ENGINE = """
import numpy


class SessionOptions:
    pass


class InferenceSession:
    def __init__(self, path, options):
        pass

    def run(self, names, batch):
        return [numpy.array([[0.0, 0.0, 1.0]])]
"""


def test_a_bundle_that_answers_otherwise_is_removed(
    port: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, run = port
    if name != "classify":
        pytest.skip("one run is enough")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "onnxruntime.py").write_text(OTHER_ENGINE)  # which the bundle's process finds first
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "other"))
    with pytest.raises(CheckRefused, match=r"the bundle says another (label|probability) than the checked model"):
        bundle_run(run, out=tmp_path / "edge")
    (tmp_path / "other" / "onnxruntime.py").write_text("raise ImportError('no such engine')")
    with pytest.raises(CheckRefused, match=r"gave no answer[\s\S]*no such engine"):
        bundle_run(run, out=tmp_path / "edge")
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_an_unchecked_run_is_not_bundled(tmp_path: Path) -> None:
    settings = [ONNX, "finetune.epochs=1"]
    sail(write_tickets(tmp_path), settings, tmp_path / "runs", until="export", log=Log(quiet=True))
    with pytest.raises(CheckRefused, match="never checked"):
        bundle_run(tmp_path / "runs" / "desk", out=tmp_path / "edge")
    assert not (tmp_path / "edge").exists()
