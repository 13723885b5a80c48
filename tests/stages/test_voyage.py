"""The whole voyage on a toy: the files it leaves, what is skipped, what is rebuilt, what is refused."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoModelForCausalLM, AutoTokenizer

from setsail.base.artifact import open_artifact
from setsail.base.errors import CheckRefused, DataError, RecipeError, UserError
from setsail.base.log import Log
from setsail.base.run import Run
from setsail.evaluate.evaluation import read_evaluation
from setsail.stages.answering.continuing import say_what_comes_next
from setsail.stages.answering.serving import refuse_unchecked
from setsail.stages.listing import list_runs
from setsail.stages.scores.evaluating import evaluate_run
from setsail.stages.voyage import sail

from .conftest import write_port, write_stories

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the toy's whole voyage has been sailed once."""
    folder = tmp_path_factory.mktemp("port")
    sail(write_port(folder), ["export.weights=[q8_0]"], folder / "runs", log=Log(quiet=True))
    return folder


def files(run: Path, stage: str) -> set[str]:
    return set(Run(run).artifact(stage).manifest.files)


def test_every_stage_leaves_exactly_its_files(port: Path) -> None:
    run = port / "runs" / "toy"
    model = {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    rows = {"train.parquet", "validation.parquet", "test.parquet", "dropped.parquet"}
    assert files(run, "data") == {*rows, "data.html", "data.md", "data.json"}
    assert files(run, "base") == {*model, "model.safetensors"}
    assert files(run, "tokens") == {
        "store.json",
        "ids.bin",
        "loss_mask.bin",
        "documents.bin",
        "row_ids.bin",
        "labels.bin",
        "account.json",
    }
    assert files(run, "merged") == {*model, "model.safetensors"}
    adapter = {"adapter_config.json", "adapter_model.safetensors"}
    account = {"plan.json", "steps.jsonl", "validation.jsonl", "training.json", "reference.json"}
    assert files(run, "finetune") == adapter | account
    gguf = {"Modelfile", "model-q8_0.gguf", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    assert gguf <= files(run, "gguf")
    assert files(run, "evaluate") == {"evaluation.json", "predictions.jsonl"}
    assert files(run, "check") == {"faithfulness.json"}
    assert files(run, "report") == {"report.html", "report.md", "data.html", "data.md"}
    assert not list(run.glob("*.partial"))


def test_the_plan_is_what_came(port: Path) -> None:
    finetune = Run(port / "runs" / "toy").artifact("finetune")
    steps = [json.loads(line) for line in finetune.file("steps.jsonl").read_text().splitlines()]
    plan = finetune.metrics["plan"]
    assert [step["step"] for step in steps] == list(range(1, plan["num_steps"] + 1))
    assert sum(step["num_supervised"] for step in steps) == plan["num_supervised"]
    assert finetune.metrics["validation"][-1]["bits_per_byte"] < finetune.metrics["validation"][0]["bits_per_byte"]


def test_the_same_command_again_makes_nothing_anew(port: Path) -> None:
    run = port / "runs" / "toy"
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file() and path.parent != run}
    sail(port / "toy.yaml", ["export.weights=[q8_0]"], port / "runs", log=Log(quiet=True))
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_tokens_are_made_when_training_needs_them(port: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(port / "runs" / "toy")
    tokens = run.artifact("tokens").path
    shutil.rmtree(tokens)
    sail(port / "toy.yaml", ["export.weights=[q8_0]"], port / "runs", log=Log(quiet=True))
    assert not tokens.exists()
    list_runs(port / "runs", as_json=True)
    assert json.loads(capsys.readouterr().out)[0]["problem"] == ""
    stamps = []
    for rate in (0.001, 0.002):
        rates = [f"finetune.learning_rate={rate}"]
        sail(port / "toy.yaml", rates, port / "runs", until="finetune", log=Log(stream=io.StringIO()))
        stamps.append({path: path.stat().st_mtime_ns for path in tokens.iterdir()})
    assert stamps[0] == stamps[1]
    sail(port / "toy.yaml", ["export.weights=[q8_0]"], port / "runs", log=Log(quiet=True))


def test_a_damaged_artefact_is_named_and_made_again(port: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(port / "runs" / "toy")
    file = run.artifact("merged").file("model.safetensors")
    good = file.read_bytes()
    file.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    sail(port / "toy.yaml", ["export.weights=[q8_0]"], port / "runs", until="export")
    assert "model.safetensors" in capsys.readouterr().err
    assert run.artifact("merged").file("model.safetensors").read_bytes() == good


def test_a_changed_key_rebuilds_only_what_depends_on_it(port: Path) -> None:
    run = Run(port / "runs" / "toy")
    before = run.current()
    sail(port / "toy.yaml", ["export.weights=[q4_0]"], port / "runs", until="export", log=Log(quiet=True))
    after = run.current()
    assert after["gguf"] != before["gguf"]
    assert {stage: after[stage] for stage in ("data", "base", "finetune", "merged")} == {
        stage: before[stage] for stage in ("data", "base", "finetune", "merged")
    }
    with pytest.raises(CheckRefused, match="another model"):
        refuse_unchecked(run, run.artifact("gguf"))
    sail(port / "toy.yaml", ["export.weights=[q8_0]"], port / "runs", log=Log(quiet=True))
    refuse_unchecked(run, run.artifact("gguf"))


def test_the_command_serves_what_it_made(port: Path) -> None:
    from setsail.serve.client import Client
    from setsail.stages.answering.serving import served_apart

    with served_apart(port / "runs" / "toy") as address, Client(address) as client:
        client.wait_until_ready()
        assert {model["id"] for model in client.models()} == {"toy", "base"}
        question = [{"role": "user", "content": "What is it that the cat sees today?"}]
        tuned = client.chat(question, model="toy", temperature=0, max_tokens=8)
        base = client.chat(question, model="base", temperature=0, max_tokens=8)
        whole = client.chat(question, model="toy")
        (line,) = client.predict({"inputs": question[0]["content"]})
    assert line["text"] == question[0]["content"] and line["output"] == whole.text
    assert tuned.num_tokens > 0 and base.num_tokens > 0


def test_serving_and_chatting_wait_for_no_torch() -> None:
    names = ("torch", "transformers", "scipy", "sklearn")
    hidden = f"import sys; sys.modules.update(dict.fromkeys({names}))"
    code = f"{hidden}\nimport setsail.stages.answering.serving, setsail.stages.answering.chatting"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_weight_changed_after_the_export_is_not_served(port: Path) -> None:
    run = port / "runs" / "toy"
    file = Run(run).artifact("gguf").file("model-q8_0.gguf")
    good = file.read_bytes()
    file.write_bytes(good[:-9] + bytes([good[-9] ^ 1]) + good[-8:])
    try:
        command = [sys.executable, "-m", "setsail", "serve", str(run), "--port", "0"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    finally:
        file.write_bytes(good)
    assert done.returncode == 2
    assert "model-q8_0.gguf" in done.stderr and "changed or damaged" in done.stderr


def test_conversations_that_came_later_are_answered(port: Path, tmp_path: Path) -> None:
    """By the tuned file and by another run's, here its own: what both say is the same, answer for answer."""
    run = Run(port / "runs" / "toy")
    rows = [json.loads(line) for line in (port / "rows.jsonl").read_text("utf-8").splitlines()[:4]]
    for row in rows:
        row["messages"][0]["content"] += " Again?"
    (tmp_path / "later.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    made = evaluate_run(run.path, data=str(tmp_path / "later.jsonl"), against=run.path)
    found = read_evaluation(made.file("evaluation.json"))
    assert found.num_rows == 4 and list(found.systems) == ["tuned", "base", "other", "nearest"]
    tuned, other = found.systems["tuned"].metrics, found.systems["other"].metrics
    assert tuned["chrf"] == other["chrf"] and tuned["bits_per_byte"] == other["bits_per_byte"]
    assert found.guard is None and "evaluate" in run.current() and run.artifact("evaluate").id != made.id


def test_a_row_that_does_not_fit_the_other_run_is_scored_for_neither(port: Path, tmp_path: Path) -> None:
    """What cannot be read would cost the other model nothing."""
    run, other = Run(port / "runs" / "toy"), Run(tmp_path / "toy")
    shutil.copytree(run.path, other.path)
    recipe = other.path / "recipe.yaml"
    assert "context: 240" in recipe.read_text("utf-8")
    recipe.write_text(recipe.read_text("utf-8").replace("context: 240", "context: 150"), encoding="utf-8")
    rows = [json.loads(line) for line in (port / "rows.jsonl").read_text("utf-8").splitlines()[:4]]
    for row in rows:
        row["messages"][0]["content"] += " Again?"
    rows[0]["messages"][0]["content"] += " " + " ".join(f"cat {number}" for number in range(20))
    (tmp_path / "later.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    made = evaluate_run(run.path, data=str(tmp_path / "later.jsonl"), against=other.path)
    found = read_evaluation(made.file("evaluation.json"))
    assert found.num_rows == 3
    tuned, same = found.systems["tuned"].metrics, found.systems["other"].metrics
    assert tuned["bits_per_byte"] == same["bits_per_byte"]


def test_the_report_stands_alone(port: Path) -> None:
    text = Run(port / "runs" / "toy").artifact("report").file("report.html").read_text("utf-8")
    assert "<script src" not in text and '<link rel="stylesheet"' not in text
    assert "served, 8 at once" in text
    assert '<a href="data.html">' in text


def test_what_comes_next_is_what_plain_transformers_say(port: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, text = port / "runs" / "toy", "What is it that the cat"
    folder = Run(run).artifact("merged").path
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)

    @torch.inference_mode()
    def log_probabilities(ids: list[int]) -> torch.Tensor:
        return model(torch.tensor([ids])).logits[0].double().log_softmax(dim=-1)

    prefix = tokenizer.encode(text)
    expected = {}
    for word in (" sees", " holds", "喵"):
        ids = tokenizer.encode(word, add_special_tokens=False)
        rows = log_probabilities(prefix + ids)[len(prefix) - 1 : -1]
        expected[word] = float(rows.gather(1, torch.tensor(ids)[:, None]).sum())
    say_what_comes_next(run, text, ["sees", "holds", "喵"], as_json=True)
    said = json.loads(capsys.readouterr().out)["continuations"]
    assert {each["text"]: each["logprob"] for each in said} == pytest.approx(expected, abs=1e-4)
    assert [each["text"] for each in said] == sorted(expected, key=lambda word: -expected[word])
    say_what_comes_next(run, text, [], top=3, as_json=True)
    (first, *_), best = json.loads(capsys.readouterr().out)["continuations"], log_probabilities(prefix)[-1].max()
    assert first["logprob"] == pytest.approx(float(best), abs=1e-4)
    for wrong in (("  ", []), (text, [" "]), (text * 2000, [])):
        with pytest.raises(UserError):
            say_what_comes_next(run, *wrong)


def test_preparing_alone_writes_the_page_in_the_language_of_the_recipe(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sail(write_port(tmp_path), ["language=zh"], tmp_path / "runs", until="prepare")
    data = Run(tmp_path / "runs" / "toy").artifact("data")
    assert f"read   {data.path / 'data.html'}" in capfd.readouterr().err
    assert "训练之前请先看" in data.file("data.html").read_text("utf-8")
    assert data.metrics["licence"] == "not stated"
    again = sail(tmp_path / "toy.yaml", [], tmp_path / "runs", until="prepare", log=Log(quiet=True))
    assert again["stages"]["prepare"] == str(data.path), "another language needs no other rows"


def test_ten_distinct_rows_of_a_help_desk_are_refused_in_one_sentence(tmp_path: Path) -> None:
    """Package chatterbot-corpus 1.3.3 has 1,050 help-desk rows of which 10 are distinct: a hold-out would be copies."""
    from importlib import metadata

    from ruamel.yaml import YAML

    listed = metadata.files("chatterbot-corpus") or []
    corpus = next(file for file in listed if file.name == "tech_support.yml" and "english" in str(file))
    talks = YAML(typ="safe", pure=True).load(Path(str(corpus.locate())).read_text("utf-8"))["conversations"]
    rows = [{"prompt": talk[0], "completion": talk[1]} for talk in talks]
    assert len(rows) == 1050
    (tmp_path / "desk.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "desk.yaml").write_text("data: desk.jsonl\n", encoding="utf-8")
    with pytest.raises(DataError) as raised:
        sail(tmp_path / "desk.yaml", [], tmp_path / "runs", log=Log(quiet=True))
    assert "1,050 rows hold 10 distinct" in raised.value.message
    assert "a test on copies" in raised.value.message
    assert raised.value.exit_code == 2
    assert not list((tmp_path / "runs").rglob("*.parquet"))


@pytest.mark.parametrize("stage", ["data", "finetune", "gguf"])
def test_a_full_disk_is_said_and_nothing_is_lost(tmp_path: Path, stage: str) -> None:
    """A file-size limit stands in for the full disk; with room again the same command goes on."""
    recipe = write_port(tmp_path)
    until = {"data": "prepare", "finetune": "finetune", "gguf": "export"}[stage]
    before = {"finetune": "prepare", "gguf": "finetune"}.get(stage)
    command = [sys.executable, "-m", "setsail"]
    where = [str(recipe), "--runs", str(tmp_path / "runs")]
    if before:
        subprocess.run([*command, before, *where], check=True, capture_output=True)
    limit = {"data": 1, "finetune": 4, "gguf": 60}[stage]  # blocks of 1,024 bytes
    limited = ["bash", "-c", f'trap "" XFSZ; ulimit -f {limit}; exec "$@"', "_", *command, until, *where]
    full = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert full.returncode == 2, full.stderr
    assert "size limit" in full.stderr and "Traceback" not in full.stderr
    assert not [path for path in (tmp_path / "runs" / "toy").glob(f"{stage}-*") if path.suffix != ".partial"]
    subprocess.run([*command, until, *where], check=True, capture_output=True)


def test_a_folder_without_permission_is_said(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        (tmp_path / "runs").write_text("a file where the folder should be")
    else:
        (tmp_path / "runs").mkdir(mode=0o500)
    command = [sys.executable, "-m", "setsail", "prepare", str(write_port(tmp_path)), "--runs", str(tmp_path / "runs")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "system error" in done.stderr and "Traceback" not in done.stderr


def test_a_manifest_tells_the_lineage(port: Path) -> None:
    run = Run(port / "runs" / "toy")
    gguf, merged = run.artifact("gguf"), run.artifact("merged")
    assert gguf.manifest.parents == {"model": merged.id}
    assert merged.manifest.parents["trained"] == open_artifact(run.artifact("finetune").path).id


def test_a_new_model_is_pretrained_exported_checked_and_reported(tmp_path: Path) -> None:
    path = write_stories(tmp_path)
    log = Log(stream=io.StringIO())
    outcome = sail(path, [], tmp_path / "runs", log=log)
    run = Run(tmp_path / "runs" / "new")
    trained = run.artifact("pretrain")
    curve = trained.metrics["validation"]
    assert curve[-1]["bits_per_byte"] < 0.8 * curve[0]["bits_per_byte"]
    samples = [json.loads(line) for line in trained.file("samples.jsonl").read_text().splitlines()]
    assert [record["step"] for record in samples] == [record["step"] for record in curve if record["step"]]
    assert all(record["texts"][0].startswith("The cat") for record in samples)
    base = run.artifact("base").metrics
    assert all(row["because"] for row in base["derivation"])
    assert 0.9e6 < base["num_parameters"] < 1.1e6
    assert set(outcome["stages"]) >= {"pretrain", "check", "report"}
    systems = json.loads(run.artifact("evaluate").file("evaluation.json").read_text())["systems"]
    bits = {who: systems[who]["metrics"]["bits_per_byte"]["value"] for who in ("tuned", "base")}
    assert bits["tuned"] < 0.8 * bits["base"]


def test_where_no_test_row_fits_it_is_said_before_training(tmp_path: Path) -> None:
    path = write_port(tmp_path)
    settings = ["data.overlong=cut", "finetune.context=100"]
    with pytest.raises(DataError, match=r"no test row fits into finetune\.context \(100 tokens\)"):
        sail(path, settings, tmp_path / "runs", log=Log(quiet=True))
    assert not list(tmp_path.glob("runs/toy/finetune-*/steps.jsonl"))


def test_the_verb_of_the_other_way_of_training_is_a_slip(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="this recipe says pretrain, not finetune"):
        sail(write_stories(tmp_path), [], tmp_path / "runs", until="finetune")


def test_patience_goes_back_to_the_best_weights(tmp_path: Path) -> None:
    path = write_stories(tmp_path)
    settings = ["pretrain.learning_rate=0.3", "pretrain.epochs=20", "pretrain.watch.patience=2"]
    stream = io.StringIO()
    sail(path, settings, tmp_path / "runs", until="pretrain", log=Log(stream=stream))
    trained = Run(tmp_path / "runs" / "new").artifact("pretrain")
    curve = trained.metrics["validation"]
    best = min(curve, key=lambda record: record["bits_per_byte"])
    assert curve[-1]["step"] > best["step"]
    assert f"back to the weights of step {best['step']}" in stream.getvalue()


def test_minutes_end_a_run_after_a_whole_step(tmp_path: Path) -> None:
    stream = io.StringIO()
    settings = ["pretrain.epochs=500", "pretrain.watch.max_minutes=0.02"]
    sail(write_stories(tmp_path), settings, tmp_path / "runs", until="pretrain", log=Log(stream=stream))
    trained = Run(tmp_path / "runs" / "new").artifact("pretrain")
    steps = trained.file("steps.jsonl").read_text().splitlines()
    assert 0 < len(steps) < trained.metrics["plan"]["num_steps"]
    assert "0.02 minutes of training are over" in stream.getvalue()


def test_samples_of_a_chat_are_answers_to_questions(tmp_path: Path) -> None:
    stream = io.StringIO()
    settings = ["finetune.watch.samples=[What is it that the cat likes today?]"]
    sail(write_port(tmp_path), settings, tmp_path / "runs", until="finetune", log=Log(stream=stream))
    record = json.loads(
        Run(tmp_path / "runs" / "toy").artifact("finetune").file("samples.jsonl").read_text().split("\n")[0]
    )
    question, arrow, answer = record["texts"][0].partition(" → ")
    assert question == "What is it that the cat likes today?" and arrow and answer


def test_tensorboard_shows_what_the_journal_holds(tmp_path: Path) -> None:
    recipe = write_stories(tmp_path)
    sail(recipe, ["pretrain.watch.tensorboard=true"], tmp_path / "runs", until="pretrain", log=Log(quiet=True))
    run = Run(tmp_path / "runs" / "new")
    (folder,) = (run.path / "tensorboard").iterdir()
    events = EventAccumulator(str(folder)).Reload()
    steps = [json.loads(line) for line in run.artifact("pretrain").file("steps.jsonl").read_text().splitlines()]
    shown = [(event.step, event.value) for event in events.Scalars("loss_nats")]
    assert shown == [(step["step"], pytest.approx(step["loss_nats"], rel=1e-6)) for step in steps]
    assert events.Scalars("validation_bits_per_byte")


def test_without_tensorboard_the_recipe_is_told_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(RecipeError, match="not installed") as caught:
        sail(write_stories(tmp_path), ["pretrain.watch.tensorboard=true"], tmp_path / "runs", until="pretrain")
    assert "setsail[track]" in (caught.value.hint or "")
