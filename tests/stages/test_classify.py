"""The whole voyage of a classifier: its files, its figures, what others load, predicting, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import pipeline

from setsail.base.artifact import Artifact
from setsail.base.errors import CheckRefused, DataError, ModelError, RecipeError, UserError
from setsail.base.log import Log
from setsail.base.recipe_file import load_recipe
from setsail.base.run import Run
from setsail.data.row import read_rows
from setsail.models.plain_reader import load_plain
from setsail.serve.client import Client, ClientError
from setsail.serve.keys import add_key
from setsail.stages.answering.predicting import predict_with_run
from setsail.stages.answering.serving import read_run, serve_after_voyage, serve_run, served_apart
from setsail.stages.beginning import begin
from setsail.stages.checks.reader import check_folder
from setsail.stages.learn import training
from setsail.stages.scores.evaluating import evaluate_run
from setsail.stages.voyage import sail

from .chat_server import ChatServer
from .conftest import COMPLAINTS, write_tickets
from .over_http import over_http, predictions, printed

pytestmark = pytest.mark.slow
LABELS = ("billing", "delivery", "log in")


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the classifier's whole voyage has been sailed once."""
    folder = tmp_path_factory.mktemp("desk")
    sail(write_tickets(folder), [], folder / "runs", log=Log(quiet=True))
    return folder


def artifact(port: Path, stage: str) -> Artifact:
    return Run(port / "runs" / "desk").artifact(stage)


def test_every_stage_leaves_exactly_its_files(port: Path) -> None:
    model = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    account = {"plan.json", "steps.jsonl", "validation.jsonl", "training.json", "reference.json"}
    assert set(artifact(port, "base").manifest.files) == model
    assert set(artifact(port, "finetune").manifest.files) == model | account
    assert set(artifact(port, "evaluate").manifest.files) == {"evaluation.json", "predictions.jsonl"}
    assert set(artifact(port, "check").manifest.files) == {"faithfulness.json"}
    assert set(artifact(port, "report").manifest.files) == {"report.html", "report.md", "data.html", "data.md"}
    assert "gguf" not in Run(port / "runs" / "desk").current()


def test_validation_is_nats_and_accuracy_and_gets_better(port: Path) -> None:
    curve = artifact(port, "finetune").metrics["validation"]
    assert curve[0].keys() == {"step", "nats_per_row", "accuracy"}
    assert curve[-1]["nats_per_row"] < 0.7 * curve[0]["nats_per_row"] and curve[-1]["accuracy"] > 0.9
    plan = artifact(port, "finetune").metrics["plan"]
    rows = read_rows(artifact(port, "data").file("train.parquet"))
    assert plan["num_supervised"] == 10 * len(rows) == 10 * plan["num_rows"]


def test_anybodys_pipeline_says_what_the_trainer_said(port: Path) -> None:
    trained = artifact(port, "finetune")
    reference = json.loads(trained.file("reference.json").read_text("utf-8"))
    assert tuple(reference["labels"]) == LABELS and len(reference["probes"]) == 8
    classify: Any = pipeline("text-classification", model=str(trained.path), dtype=torch.float32, top_k=None)
    for probe in reference["probes"]:
        said = {entry["label"]: entry["score"] for entry in classify(list(probe["texts"]))[0]}
        shares = np.exp(np.array(probe["logits"][0]))
        assert [said[label] for label in LABELS] == pytest.approx(list(shares / shares.sum()), abs=1e-4)


def test_the_figures_are_those_of_the_folder_on_the_frozen_test(port: Path) -> None:
    evaluation = json.loads(artifact(port, "evaluate").file("evaluation.json").read_text("utf-8"))
    rows = read_rows(artifact(port, "data").file("test.parquet"))
    classifier = load_plain(artifact(port, "finetune").path)
    said = np.stack(classifier.logits([row.text for row in rows])).argmax(axis=1)
    accuracy = sum(classifier.labels[index] == row.label for index, row in zip(said, rows, strict=True)) / len(rows)
    assert evaluation["num_rows"] == len(rows)
    assert evaluation["systems"]["tuned"]["metrics"]["accuracy"]["value"] == pytest.approx(accuracy)
    assert list(evaluation["systems"]) == ["tuned", "majority", "keywords", "tfidf", "neighbours", "probe"]
    rungs = {rung["system"]: rung["cost"] for rung in evaluation["ladder"]["rungs"]}
    assert set(rungs) == set(evaluation["systems"]) and rungs["tuned"]["making"] > rungs["keywords"]["making"] > 0
    assert evaluation["ladder"]["stop"] in rungs
    assert "TF-IDF with logistic regression" in evaluation["verdict"]


def later_rows(port: Path, path: Path) -> int:
    """A file of rows that came later: new ones, a copy of one of them, and one that training has seen."""
    seen = read_rows(artifact(port, "data").file("train.parquet"))[0]
    rows = [(f"{text} at {number} o'clock", label) for label, text in NEW.items() for number in range(6)]
    rows += [rows[0], (seen.text, seen.label)]
    lines = ["text,label", *(f'"{text}",{label}' for text, label in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(rows)


NEW = {
    "delivery": "the parcel is broken and late",
    "billing": "there is a wrong sum on the invoice",
    "log in": "my password does not log me in",
}


def test_rows_that_came_later_are_all_scored(port: Path, tmp_path: Path) -> None:
    run = port / "runs" / "desk"
    num = later_rows(port, tmp_path / "later.csv")
    before = Run(run).current()["evaluate"]
    made = evaluate_run(run, data=str(tmp_path / "later.csv"))
    assert set(made.manifest.files) == {"evaluation.json", "predictions.jsonl", "report.html", "report.md"}
    found = json.loads(made.file("evaluation.json").read_text("utf-8"))
    assert found["num_rows"] == num - 1 and len(found["contamination"]["exact"]) == 1
    lines = [json.loads(line) for line in made.file("predictions.jsonl").read_text("utf-8").splitlines()]
    classifier = load_plain(artifact(port, "finetune").path)
    said = np.stack(classifier.logits([line["text"] for line in lines])).argmax(axis=1)
    assert [line["systems"]["tuned"]["label"] for line in lines] == [classifier.labels[index] for index in said]
    assert set(found["systems"]) == {"tuned", "majority", "keywords", "tfidf", "neighbours", "probe"}
    assert Run(run).current()["evaluate"] == before  # what belongs to the voyage stays
    assert "an evaluation on 19 rows" in made.file("report.md").read_text("utf-8")
    assert evaluate_run(run, data=str(tmp_path / "later.csv")).path == made.path


def test_another_run_is_asked_the_same_rows(port: Path, tmp_path: Path) -> None:
    run = port / "runs" / "desk"
    sail(port / "desk.yaml", ["name=short", "finetune.epochs=1"], port / "runs", until="finetune", log=Log(quiet=True))
    made = evaluate_run(run, against=port / "runs" / "short")
    found = json.loads(made.file("evaluation.json").read_text("utf-8"))
    first = found["comparisons"][0]
    assert (first["system"], first["against"]) == ("tuned", "other")
    assert found["verdict"].startswith("The tuned model is") and "the other run's model" in found["verdict"]
    rows = read_rows(artifact(port, "data").file("test.parquet"))
    other = load_plain(Run(port / "runs" / "short").artifact("finetune").path)
    said = np.stack(other.logits([row.text for row in rows])).argmax(axis=1)
    right = sum(other.labels[index] == row.label for index, row in zip(said, rows, strict=True))
    assert found["systems"]["other"]["metrics"]["accuracy"]["value"] == pytest.approx(right / len(rows))
    assert {"other", "tuned"} <= {rung["system"] for rung in found["ladder"]["rungs"]}


def test_a_prompted_model_is_scored_beside_the_ladder(port: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """It knows parcels, says nothing of use about the rest, and its key stands nowhere."""
    monkeypatch.setenv("CHAT_KEY", "sk-stands-nowhere")
    known = re.compile("parcel|box|快递")
    with ChatServer(lambda prompt: "It is delivery." if known.search(prompt) else "no idea") as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        where = [f"evaluate.prompted.url={server.url}", "evaluate.prompted.model=large"]
        made = evaluate_run(port / "runs" / "desk", settings=[*where, "evaluate.prompted.key_env=CHAT_KEY"])
        server.shutdown()
    found = json.loads(made.file("evaluation.json").read_text("utf-8"))
    rows = read_rows(artifact(port, "data").file("test.parquet"))
    train = Counter(row.label for row in read_rows(artifact(port, "data").file("train.parquet")))
    usual = train.most_common(1)[0][0]
    right = sum(row.label == ("delivery" if known.search(row.text) else usual) for row in rows)
    assert found["systems"]["prompted"]["metrics"]["accuracy"]["value"] == pytest.approx(right / len(rows))
    assert "prompted" not in {rung["system"] for rung in found["ladder"]["rungs"]}  # its cost is not known
    assert ["tuned", "prompted"] in [[each["system"], each["against"]] for each in found["comparisons"]]
    assert server.keys == {"Bearer sk-stands-nowhere"} and all(body["model"] == "large" for body in server.bodies)
    written = "".join(path.read_text("utf-8") for path in made.path.iterdir())
    told = capsys.readouterr().err
    assert "sk-stands" not in written + told and "answers of large name no label" in told


def test_what_cannot_be_evaluated_is_told(port: Path, tmp_path: Path) -> None:
    run = port / "runs" / "desk"
    file = tmp_path / "later.csv"
    file.write_text("text,label\nthe parcel is late,dispatch\nit broke,delivery\n", encoding="utf-8")
    with pytest.raises(DataError, match='1 rows have a label that the model does not know: "dispatch"') as refused:
        evaluate_run(run, data=str(file))
    assert "later.csv:2" in str(refused.value) and "billing" in str(refused.value)
    file.write_text("subject,body\nlate,parcel\n", encoding="utf-8")
    with pytest.raises(UserError, match="text"):
        evaluate_run(run, data=str(file))
    file.write_text("text,label\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"later\.csv"):
        evaluate_run(run, data=str(file))
    with pytest.raises(UserError, match=r"missing\.csv"):
        evaluate_run(run, data=str(tmp_path / "missing.csv"))
    with pytest.raises(UserError, match="is not the folder of a run"):
        evaluate_run(run, against=tmp_path)
    with pytest.raises(UserError, match="is not the folder of a run"):
        evaluate_run(tmp_path)
    with pytest.raises(UserError, match="would need another model"):
        evaluate_run(run, settings=["finetune.epochs=9"])


def test_a_run_tells_its_own_test_again(port: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = evaluate_run(port / "runs" / "desk")
    assert kept.id == artifact(port, "evaluate").id
    assert "macro_f1" in capsys.readouterr().err


def test_a_line_for_each_text(port: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = port / "runs" / "desk"
    predict_with_run(run, "快递坏了 1")
    (found,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert found["label"] == "delivery" and 0.4 < found["probability"] <= 1.0 and "cut" not in found
    long = "parcel " * 100
    (tmp_path / "texts.txt").write_text(f"the invoice is wrong 7\n\n{long}\n", encoding="utf-8")
    predict_with_run(run, file=tmp_path / "texts.txt", every=True)
    captured = capsys.readouterr()
    lines = [json.loads(line) for line in captured.out.splitlines()]
    assert lines[0]["label"] == "billing" and lines[1]["cut"] is True
    assert set(lines[0]["probabilities"]) == set(LABELS) and "1 of 2 texts are longer" in captured.err


def test_the_command_predicts_and_serves_and_does_not_chat(port: Path) -> None:
    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "setsail", *arguments]
        return subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)

    run = str(port / "runs" / "desk")
    done = command("predict", run, "refund my order please 3")
    assert done.returncode == 0 and json.loads(done.stdout)["label"] == "billing"
    refused = command("chat", run)
    assert refused.returncode == 2 and "this run is a classifier" in refused.stderr, refused.stderr
    assert f'setsail predict {run} "your text", or setsail serve {run}' in refused.stderr
    with served_apart(Path(run)) as address, Client(address) as client:
        client.wait_until_ready()
        assert client.predict({"inputs": ["refund my order please 3"]}) == [json.loads(done.stdout)]


def test_over_http_it_says_what_the_command_prints(
    port: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = port / "runs" / "desk"
    texts = [f"{text} {number}" for number in range(6) for many in COMPLAINTS.values() for text in many]
    texts += ["{not json", "parcel " * 100]
    for every in (True, False):
        lines = printed(capsys, run, *texts, folder=tmp_path, every=every)
        assert len(lines) == 56 and lines[-1]["cut"] is True
        with over_http(run) as post:
            assert predictions(post, {"inputs": texts, "probabilities": every}) == lines


def test_many_clients_at_once_hear_what_one_hears(port: Path) -> None:
    texts = [f"{text} {number}" for number in range(6) for many in COMPLAINTS.values() for text in many]
    with over_http(port / "runs" / "desk") as post, ThreadPoolExecutor(12) as pool:
        alone = [predictions(post, {"inputs": text})[0] for text in texts]
        together = list(pool.map(lambda text: predictions(post, {"inputs": text})[0], texts))
    assert [(line["text"], line["label"]) for line in together] == [(line["text"], line["label"]) for line in alone]
    assert [line["probability"] for line in together] == pytest.approx(
        [line["probability"] for line in alone], abs=1e-5
    )


def test_the_command_serves_two_runs_behind_keys(port: Path, tmp_path: Path) -> None:
    desk, second, file = port / "runs" / "desk", tmp_path / "second", tmp_path / "keys.json"
    shutil.copytree(desk, second, symlinks=True)
    recipe = (second / "recipe.yaml").read_text("utf-8")
    (second / "recipe.yaml").write_text(recipe.replace("name: desk", "name: second"), encoding="utf-8")
    secret = add_key(file, "shop", scopes=["predict"])
    command = [sys.executable, "-m", "setsail", "serve", str(desk), str(second), "--port", "0", "--keys", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            with pytest.raises(ClientError, match="an API key is needed"), Client(address) as client:
                client.models()
            with Client(address, api_key=secret) as client:
                assert [model["id"] for model in client.models()] == ["desk", "second"]
                lines = [client.predict({"inputs": "refund my order", "model": name}) for name in ("desk", "second")]
                assert lines[0] == lines[1] == client.predict({"inputs": "refund my order"})
        finally:
            server.terminate()
            said = server.communicate(timeout=60)[1]
    assert "POST /predict 200" in said and said.count(" key=shop") == 4 and secret not in said


def test_two_runs_of_one_name_are_refused(port: Path) -> None:
    with pytest.raises(UserError, match="two runs are called desk"):
        serve_run(port / "runs" / "desk", port / "runs" / "desk", settings=["serve.port=0"])


@pytest.mark.parametrize("setting", ["finetune.epochs=9", "export.weights=[q4_0]", "servers=3", "serve"])
def test_a_setting_that_is_not_of_serving_is_refused(port: Path, setting: str) -> None:
    with pytest.raises(UserError, match="is not of serving: a run answers as it was trained and checked"):
        serve_run(port / "runs" / "desk", settings=["serve.port=0", setting])


def test_an_engine_of_models_that_converse_is_refused(port: Path) -> None:
    with pytest.raises(UserError, match="the engine llamacpp runs models that converse; this run is a classifier"):
        serve_run(port / "runs" / "desk", settings=["serve.port=0"], engine="llamacpp")


def test_without_a_terminal_one_real_request_is_answered(port: Path, capfd: pytest.CaptureFixture[str]) -> None:
    serve_after_voyage(port / "runs" / "desk")
    said = capfd.readouterr().err
    assert "answered  {" in said and '"label": ' in said and "setsail serve" in said


def test_a_folder_that_says_something_else_is_refused(port: Path) -> None:
    trained = artifact(port, "finetune")
    assert check_folder(trained).breach is None
    file = trained.path / "model.safetensors"
    good = file.read_bytes()
    weights = load_file(file)
    weights["classifier.bias"] = weights["classifier.bias"] + torch.tensor([0.0, 0.01, 0.0]).bfloat16()
    save_file(weights, file, metadata={"format": "pt"})
    try:
        verdict = check_folder(trained)
    finally:
        file.write_bytes(good)
    assert verdict.breach is not None and verdict.breach.check == "logits, largest difference"
    with pytest.raises(CheckRefused, match="is not what was trained"):
        verdict.refuse_on_breach()


def test_labels_in_another_order_are_refused(port: Path) -> None:
    trained = artifact(port, "finetune")
    file = trained.path / "config.json"
    good = file.read_text("utf-8")
    settings = json.loads(good)
    settings["id2label"]["0"], settings["id2label"]["1"] = settings["id2label"]["1"], settings["id2label"]["0"]
    file.write_text(json.dumps(settings), "utf-8")
    try:
        verdict = check_folder(trained)
    finally:
        file.write_text(good, "utf-8")
    assert verdict.breach is not None and verdict.breach.check == "labels of another name"


def test_the_report_speaks_of_labels_in_both_languages(port: Path) -> None:
    text = artifact(port, "report").file("report.md").read_text("utf-8")
    assert "## Label by label" in text and "McNemar" in text and "[CLS]" in text.replace("\\", "")
    sail(port / "desk.yaml", ["language=zh"], port / "runs", log=Log(quiet=True))
    assert "## 逐个标签" in artifact(port, "report").file("report.md").read_text("utf-8")


def test_a_voyage_that_was_stopped_is_the_same_as_one_that_never_was(
    port: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, steps = write_tickets(tmp_path), training.train_resumably

    def stopping(*arguments: Any, **options: Any) -> Any:
        for number, step in enumerate(steps(*arguments, **options)):
            yield step
            if number == 4:
                raise KeyboardInterrupt

    monkeypatch.setattr(training, "train_resumably", stopping)
    with pytest.raises(KeyboardInterrupt):
        sail(recipe, [], tmp_path / "runs", until="finetune", log=Log(quiet=True))
    monkeypatch.setattr(training, "train_resumably", steps)
    said: list[str] = []
    monkeypatch.setattr(Log, "say", lambda self, text: said.append(text))
    sail(recipe, [], tmp_path / "runs", until="finetune", log=Log(quiet=True))
    assert any("going on after step 4" in line for line in said)
    whole, again = artifact(port, "finetune"), artifact(tmp_path, "finetune")
    losses = [
        [json.loads(line)["loss_hex"] for line in each.file("steps.jsonl").read_text().splitlines()]
        for each in (whole, again)
    ]
    assert losses[0] == losses[1]
    assert whole.manifest.files["model.safetensors"] == again.manifest.files["model.safetensors"]


@pytest.mark.parametrize("kind", ["xlm-roberta", "modernbert"])
def test_other_families_sail_as_well(kind: str, tmp_path: Path) -> None:
    recipe = write_tickets(tmp_path, kind=kind)
    sail(recipe, ["finetune.epochs=1", "data.overlong=cut", "finetune.context=16"], tmp_path / "runs", until="check")
    assert artifact(tmp_path, "check").metrics["passed"]
    assert artifact(tmp_path, "finetune").metrics["plan"]["truncated"]


def test_an_unchecked_classifier_does_not_predict(tmp_path: Path) -> None:
    sail(write_tickets(tmp_path), ["finetune.epochs=1"], tmp_path / "runs", until="finetune", log=Log(quiet=True))
    with pytest.raises(CheckRefused, match="never checked"):
        predict_with_run(tmp_path / "runs" / "desk", "help")
    with pytest.raises(CheckRefused, match="never checked"):
        serve_run(tmp_path / "runs" / "desk", settings=["serve.port=0"])


def test_verbs_that_do_not_apply_are_refused_with_the_one_that_does(port: Path) -> None:
    with pytest.raises(RecipeError, match="an encoder is not exported"):
        sail(port / "desk.yaml", [], port / "runs", until="export", log=Log(quiet=True))
    with pytest.raises(UserError, match="this run is a classifier"):
        read_run(port / "runs" / "desk")
    with pytest.raises(UserError, match="give a text or a file"):
        predict_with_run(port / "runs" / "desk")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("finetune.method=lora", "trains all weights"),
        ("data.overlong=split", "no longer what its row speaks of"),
        ("finetune.watch.samples=[hello]", "writes nothing"),
        ("template=chatml", "not conversations"),
        ("pretrain={epochs: 1}", "pretraining learns plain text"),
    ],
)
def test_settings_that_do_not_fit_are_refused(setting: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("task: classify\ndata: t.csv\n", encoding="utf-8")
    with pytest.raises(RecipeError, match=words):
        load_recipe(path, [setting])


def test_a_classifiers_defaults_are_told_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("task: classify\ndata: t.csv\nfinetune: {epochs: 2}\n", encoding="utf-8")
    recipe = load_recipe(path).recipe
    assert (recipe.base, recipe.finetune.method, recipe.finetune.context) == ("minilm-l6", "full", 512)
    assert recipe.finetune.epochs == 2 and recipe.evaluate.max_rows == 10_000
    again = type(recipe).model_validate(recipe.resolved())
    assert again == recipe
    assert set(COMPLAINTS) == set(LABELS)


def test_a_base_that_cannot_read_the_texts_is_refused(tmp_path: Path) -> None:
    recipe = write_tickets(tmp_path)
    lines = [f"咨询开户贷款利率{number}天气预报,{LABELS[number % 3]}" for number in range(60)]
    (tmp_path / "tickets.csv").write_text("\n".join(["text,label", *lines]) + "\n", encoding="utf-8")
    with pytest.raises(ModelError, match=r"\d+% of the tokens are unknown to the base encoder") as raised:
        sail(recipe, [], tmp_path / "runs", until="finetune", log=Log(quiet=True))
    assert raised.value.place == "desk.yaml:3" and "bert-base-chinese" in str(raised.value.hint)


@pytest.mark.parametrize("chinese", [False, True])
def test_a_look_at_a_table_of_labels_writes_a_recipe_that_loads(chinese: bool, tmp_path: Path) -> None:
    text, header = ("快递坏了", "内容,类别") if chinese else ("the box is broken", "text,label")
    lines = [f"{text} {number},{LABELS[number % 3]}" for number in range(60)]
    (tmp_path / "t.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    begin(str(tmp_path / "t.csv"), out=tmp_path / "t.yaml")
    recipe = load_recipe(tmp_path / "t.yaml").recipe
    assert recipe.task == "classify" and recipe.finetune.method == "full"
    assert recipe.base == ("bert-base-chinese" if chinese else "minilm-l6")
    sail(tmp_path / "t.yaml", [], tmp_path / "runs", until="prepare", log=Log(quiet=True))
