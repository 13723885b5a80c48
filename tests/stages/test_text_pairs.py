"""The voyage of a model that writes texts from texts: new, from a base, and a chat model; its proof and its use."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from models import toy_model
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from setsail.base.errors import CheckRefused, RecipeError, UserError
from setsail.base.log import Log
from setsail.base.recipe_file import load_recipe
from setsail.base.run import Run
from setsail.data.row import read_rows
from setsail.evaluate.evaluation import Evaluation, read_evaluation
from setsail.stages.answering.chatting import chat_in_terminal
from setsail.stages.answering.predicting import predict_with_run
from setsail.stages.answering.serving import serve_run
from setsail.stages.checks.pairs import check_saved
from setsail.stages.scores.evaluating import evaluate_run
from setsail.stages.stage import Voyage
from setsail.stages.voyage import sail

from .conftest import TOYS
from .over_http import over_http, predictions, printed

pytestmark = pytest.mark.slow
WORDS = dict(zip(TOYS, ("猫", "狗", "垫", "木", "日", "海", "图", "杯", "帽", "笔"), strict=True))

TRANSLATING = """\
name: words
task: translate
base: {new: 1m, kind: seq2seq, vocabulary: 420}
data: {source: pairs.csv, languages: [en, zh], near_duplicates: 1.0, redact: none, split: {validation: 0.15, test: 0.2}}
finetune: {epochs: 12, batch_tokens: 512, context: 120, watch: {validate_every: 10, samples: [The cat]}}
evaluate: {max_rows: 40, max_new_tokens: 24, samples: 3, resamples: 100}
check: {prompts: 6, max_new_tokens: 12}
"""
REWRITING = """\
name: mended
task: rewrite
base: BASE
data: {source: pairs.csv, columns: {text: en}, damage: [case, punctuation], near_duplicates: 1.0, redact: none}
finetune: {method: full, epochs: 1, batch_tokens: 512, context: 120}
evaluate: {max_rows: 6, max_new_tokens: 12, resamples: 100}
check: {prompts: 3, max_new_tokens: 6}
"""
SUMMARIZING = """\
name: short
task: summarize
base: base
data: {source: long.jsonl, near_duplicates: 1.0, redact: none, split: {validation: 0.15, test: 0.2}}
finetune: {epochs: 1, batch_tokens: 512, context: 400, learning_rate: 0.01, lora: {rank: 4}}
evaluate: {max_rows: 5, max_new_tokens: 12, samples: 2, resamples: 100}
export: {weights: [q8_0]}
check: {prompts: 2, max_new_tokens: 6}
serve: {slots: 8, max_tokens: 40, context: 512}
"""


def write_pairs(folder: Path) -> Path:
    chance = random.Random(3)
    lines = ["en,zh"]
    for number in range(110):
        some = chance.sample(TOYS, 3)
        english = " and the ".join(some)
        lines.append(f"The {english} of box {number}.,{'和'.join(WORDS[toy] for toy in some)}在{number}号箱。")
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    path = folder / "words.yaml"
    path.write_text(TRANSLATING, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a new model has learned to translate, from the first stage to the last."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("words")
    sail(write_pairs(folder), [], folder / "runs", log=Log(quiet=True))
    return folder


def run_of(folder: Path, name: str = "words") -> Run:
    return Run(folder / "runs" / name)


def evaluation_of(run: Run) -> Evaluation:
    return read_evaluation(run.artifact("evaluate").file("evaluation.json"))


def test_every_stage_leaves_its_files(port: Path) -> None:
    run = run_of(port)
    assert set(run.current()) == {
        *("data", "tokenizer", "base", "tokens", "finetune", "merged", "evaluate", "check", "report")
    }
    model = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert set(run.artifact("merged").manifest.files) == model
    samples = run.artifact("finetune").file("samples.jsonl").read_text("utf-8").splitlines()
    assert all(json.loads(line)["texts"][0].startswith("The cat → ") for line in samples)


def test_it_learns_and_is_scored_by_the_metrics_of_its_task(port: Path) -> None:
    run = run_of(port)
    curve = run.artifact("finetune").metrics["validation"]
    assert curve[-1]["bits_per_byte"] < 0.6 * curve[0]["bits_per_byte"]
    evaluation = evaluation_of(run)
    assert list(evaluation.systems) == ["tuned", "copy", "nearest", "words"]
    tuned = evaluation.systems["tuned"].metrics
    assert {"bits_per_byte", "bleu", "chrf", "length_ratio", "exact_text", "placeholders_kept"} <= set(tuned)
    assert tuned["chrf"].value > evaluation.systems["copy"].metrics["chrf"].value
    assert evaluation.comparisons[0].against == "nearest" and evaluation.samples[0].reference.endswith("号箱。")
    assert evaluation.ladder is not None and evaluation.ladder.rung("tuned").cost.making > 0
    assert {rung.system for rung in evaluation.ladder.rungs} == set(evaluation.systems)


def test_the_saved_folder_pays_in_plain_transformers_what_is_reported(port: Path) -> None:
    run = run_of(port)
    folder, rows = run.artifact("merged").path, read_rows(run.artifact("data").file("test.parquet"))
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSeq2SeqLM.from_pretrained(folder)
    nats = num_bytes = 0.0
    for row in rows:
        source, target = (message["content"] for message in row.messages)
        labels = tokenizer(target, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            loss = model.float()(**tokenizer(source, return_tensors="pt"), labels=labels).loss.item()
        nats, num_bytes = nats + loss * labels.shape[1], num_bytes + len(target.encode())
    told = evaluation_of(run)
    assert told.num_rows == len(rows)
    bits = told.systems["tuned"].metrics["bits_per_byte"].value
    assert bits == pytest.approx(nats / math.log(2) / num_bytes, rel=0.03)  # that one in bf16


def test_what_is_predicted_is_what_anybody_gets_from_the_folder(port: Path, capsys, tmp_path: Path) -> None:
    run, texts = (
        run_of(port),
        ["The cat and the dog and the mat of box 7.", "The sun and the sea and the map of box 3."],
    )
    (tmp_path / "texts.txt").write_text("\n".join(texts) + "\n\n", encoding="utf-8")
    predict_with_run(run.path, file=tmp_path / "texts.txt")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["text"] for line in lines] == texts
    folder = run.artifact("merged").path
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSeq2SeqLM.from_pretrained(folder)
    for line in lines:
        written: Any = model.float().generate(**tokenizer(line["text"], return_tensors="pt"), max_new_tokens=120)
        assert line["output"] == tokenizer.decode(written[0], skip_special_tokens=True).strip()
    predict_with_run(run.path, "The cat " * 130)
    (long,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert long["overlong"] is True


def test_the_report_tells_it_and_how_it_is_used(port: Path) -> None:
    text = run_of(port).artifact("report").file("report.md").read_text("utf-8")
    assert "setsail predict" in text and "AutoModelForSeq2SeqLM" in text and "setsail serve" in text
    assert "Placeholders kept" in text and "chrF to the best" in text


def test_a_weight_changed_after_training_is_found(port: Path) -> None:
    run = run_of(port)
    voyage = Voyage(load_recipe(port / "words.yaml"), run, Log(quiet=True))
    reference = run.artifact("finetune").file("reference.json")
    kept = reference.read_text("utf-8")
    said = json.loads(kept)
    for answer in said["trainer"]["answers"]:
        answer["nats"] *= 1.2
        answer["text_ids"] = [5, *answer["text_ids"]]
    reference.write_text(json.dumps(said), encoding="utf-8")
    try:
        trained, saved = (run.artifact(stage, verify=False) for stage in ("finetune", "merged"))
        verdict = check_saved(voyage, trained, saved)
        failed = {finding.check for finding in verdict.findings if not finding.passed}
        assert failed == {"greedy text, shared prefix", "bits per byte, difference"}
        with pytest.raises(CheckRefused, match='"saved" is not what was trained'):
            verdict.refuse_on_breach()
    finally:
        reference.write_text(kept, encoding="utf-8")


def test_pairs_that_came_later_are_scored(port: Path, tmp_path: Path) -> None:
    lines = [f"The cat and the dog and the sun of hut {number}.,猫和狗和太阳在{number}号屋。" for number in range(12)]
    (tmp_path / "later.csv").write_text("\n".join(["en,zh", *lines]) + "\n", encoding="utf-8")
    made = evaluate_run(run_of(port).path, data=str(tmp_path / "later.csv"))
    found = read_evaluation(made.file("evaluation.json"))
    assert found.num_rows == 12 and list(found.systems) == ["tuned", "copy", "nearest", "words"]
    assert found.samples[0].reference.endswith("号屋。") and made.file("report.html").exists()


def test_it_does_not_chat_and_the_message_says_what_works(port: Path) -> None:
    with pytest.raises(UserError, match="writes a text for a text, and cannot be talked to") as refused:
        chat_in_terminal(run_of(port).path)
    assert refused.value.hint and "setsail serve" in refused.value.hint


def test_over_http_it_writes_what_the_command_prints(port: Path, capsys, tmp_path: Path) -> None:
    run = run_of(port).path
    texts = [f"The {toy} and the sun of box {number}." for number, toy in enumerate(TOYS * 2)] + ["The cat " * 130]
    lines = printed(capsys, run, *texts, folder=tmp_path)
    with over_http(run) as post:
        assert predictions(post, {"inputs": texts}) == lines and lines[-1]["overlong"] is True
        error = post("/v1/chat/completions", {"model": "words", "messages": []}).json()["error"]
        assert "an encoder-decoder: it writes a text for a text; use POST /predict" in error["message"]


def test_the_folder_is_the_base_of_another_task(port: Path) -> None:
    """Texts damaged by rule; the base is scored beside the tuned model."""
    path = port / "mended.yaml"
    path.write_text(REWRITING.replace("BASE", str(run_of(port).artifact("merged").path)), encoding="utf-8")
    sail(path, [], port / "runs", log=Log(quiet=True))
    run = run_of(port, "mended")
    rows = read_rows(run.artifact("data").file("train.parquet"))
    assert rows[0].messages[-2]["content"] == rows[0].messages[-1]["content"].lower().removesuffix(".")
    evaluation = evaluation_of(run)
    assert list(evaluation.systems) == ["tuned", "base", "copy", "nearest"]
    assert evaluation.systems["copy"].metrics["chrf"].value > 50
    with pytest.raises(RecipeError, match=r"for a given model that chats, and .* is a seq2seq model"):
        sail(path, ["evaluate.guard=refuse"], port / "runs", until="finetune", log=Log(quiet=True))
    with pytest.raises(RecipeError, match="is a seq2seq model: it learns with all its weights"):
        sail(path, ["finetune.method=lora"], port / "runs", until="finetune", log=Log(quiet=True))


def test_an_unchecked_model_predicts_nothing(port: Path) -> None:
    sail(port / "words.yaml", ["name=unchecked"], port / "runs", until="finetune", log=Log(quiet=True))
    with pytest.raises(CheckRefused, match="never checked"):
        predict_with_run(run_of(port, "unchecked").path, "The cat")
    with pytest.raises(CheckRefused, match="never checked"):
        serve_run(run_of(port, "unchecked").path, settings=["serve.port=0"])
    with pytest.raises(UserError, match="give a text or a file"):
        predict_with_run(run_of(port).path)


@pytest.fixture(scope="module")
def chatting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a chat model has learned to summarize."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("short")
    toy_model.write_folder(folder / "base")
    chance = random.Random(2)
    rows = []
    for number in range(60):
        sentences = [f"The {chance.choice(TOYS)} is {chance.choice(TOYS)} {number}{place}." for place in range(4)]
        rows.append({"article": " ".join(sentences), "summary": sentences[chance.randrange(2)]})
    (folder / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "short.yaml").write_text(SUMMARIZING, encoding="utf-8")
    sail(folder / "short.yaml", [], folder / "runs", log=Log(quiet=True))
    return folder


def test_a_chat_model_is_told_what_to_do_and_all_of_chat_holds(chatting: Path, capsys) -> None:
    run = run_of(chatting, "short")
    rows = read_rows(run.artifact("data").file("train.parquet"))
    instruction = "Summarize the text. Answer with the summary alone."
    assert {row.messages[0]["content"] for row in rows} == {instruction}
    assert {"merged", "gguf", "check"} <= set(run.current())
    evaluation = evaluation_of(run)
    assert list(evaluation.systems) == ["tuned", "base", "nearest", "lead", "extract"]
    assert {"rouge_1", "rouge_2", "rouge_l", "bits_per_byte"} <= set(evaluation.systems["tuned"].metrics)
    assert "bleu" not in evaluation.systems["tuned"].metrics
    assert evaluation.systems["lead"].metrics["rouge_l"].value > 0.5
    assert evaluation.ladder is not None and evaluation.ladder.rung("tuned").cost.thousand > 0
    stages = json.loads(run.artifact("check").file("faithfulness.json").read_text())["findings"]
    assert "gguf in llama.cpp" in {finding["stage"] for finding in stages}
    predict_with_run(run.path, rows[0].messages[1]["content"])
    (line,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert set(line) <= {"text", "output", "unfinished"} and line["output"]


def test_a_chat_models_answers_are_the_same_over_http(chatting: Path, capsys, tmp_path: Path) -> None:
    run = run_of(chatting, "short")
    texts = [row.messages[1]["content"] for row in read_rows(run.artifact("data").file("train.parquet"))[:3]]
    lines = printed(capsys, run.path, *texts, folder=tmp_path)
    with over_http(run.path) as post:
        assert predictions(post, {"inputs": texts}) == lines
