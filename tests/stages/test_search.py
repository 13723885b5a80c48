"""Whole voyages of embed and rank: their files and figures, what others load, predicting, and what is refused."""

from __future__ import annotations

import functools
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models import toy_encoder
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from setsail.base.artifact import Artifact
from setsail.base.errors import CheckRefused, ModelError, RecipeError, UserError
from setsail.base.log import Log
from setsail.base.recipe_file import load_recipe
from setsail.base.run import Run
from setsail.data.pairs import query_of, text_of
from setsail.data.row import read_rows
from setsail.stages.answering.predicting import predict_with_run
from setsail.stages.answering.serving import read_run
from setsail.stages.beginning import begin
from setsail.stages.checks.search import check_folder
from setsail.stages.scores.evaluating import evaluate_run
from setsail.stages.voyage import sail

from .over_http import over_http, predictions, printed

pytestmark = pytest.mark.slow
WORDS = ("parcel", "late", "box", "invoice", "wrong", "refund", "login", "password", "crash", "order", "broken", "sum")
FIND = """\
name: find
task: embed
base: encoder
data: {source: pairs.jsonl, redact: none, split: {validation: 0.2, test: 0.25}}
finetune: {epochs: 8, batch_tokens: 512, context: 20, learning_rate: 0.01, watch: {save_every: 20}}
evaluate: {resamples: 100, samples: 3}
check: {prompts: 8}
"""
ORDER = """\
name: order
task: rank
base: encoder
data: {source: graded.jsonl, redact: none, split: {validation: 0.2, test: 0.25}}
finetune: {epochs: 6, batch_tokens: 512, context: 40, learning_rate: 0.01, watch: {save_every: 20}}
evaluate: {resamples: 100, samples: 3}
check: {prompts: 8}
"""


def write_port(folder: Path, *, kind: str = "bert", num: int = 120) -> None:
    """A toy encoder, pairs, graded pairs, scored pairs, and the recipes of both tasks."""
    toy_encoder.write_folder(folder / "encoder", kind)
    chance = random.Random(1)
    pairs, graded, scored = [], [], []
    for n in range(num):
        first, second = chance.sample(WORDS, 2)
        long = " again" * 20 if n % 40 == 0 else ""
        pairs.append({"query": f"{first} {second} {n}", "positive": f"the {second} {first} {n} please{long}"})
        for grade, text in ((2, f"the {first} {second}"), (1, f"the {first} help"), (0, "login app please")):
            graded.append({"query": f"{first} {second} {n}", "text": f"{text} {n}", "label": grade})
        scored.append({"sentence1": first, "sentence2": f"{first} {n}", "score": 5})
        scored.append({"sentence1": first, "sentence2": f"{second} {n}", "score": chance.randrange(3)})
    for name, rows in (("pairs", pairs), ("graded", graded), ("scored", scored)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    (folder / "find.yaml").write_text(FIND, encoding="utf-8")
    (folder / "order.yaml").write_text(ORDER, encoding="utf-8")


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which both voyages have been sailed once."""
    folder = tmp_path_factory.mktemp("search")
    write_port(folder)
    for name in ("find", "order"):
        sail(folder / f"{name}.yaml", [], folder / "runs", log=Log(quiet=True))
    return folder


def artifact(port: Path, run: str, stage: str) -> Artifact:
    return Run(port / "runs" / run).artifact(stage)


def test_every_stage_leaves_exactly_its_files(port: Path) -> None:
    model = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    account = {"plan.json", "steps.jsonl", "validation.jsonl", "training.json", "reference.json"}
    pooling = {"modules.json", "1_Pooling/config.json", "sentence_bert_config.json"}
    assert set(artifact(port, "find", "finetune").manifest.files) == model | account | pooling
    assert set(artifact(port, "order", "finetune").manifest.files) == model | account
    for run in ("find", "order"):
        assert set(artifact(port, run, "evaluate").manifest.files) == {"evaluation.json", "predictions.jsonl"}
        assert set(artifact(port, run, "check").manifest.files) == {"faithfulness.json"}


def test_validation_gets_better(port: Path) -> None:
    found = artifact(port, "find", "finetune").metrics["validation"]
    assert found[0].keys() == {"step", "nats_per_row", "mrr_at_10"}
    assert found[-1]["nats_per_row"] < 0.5 * found[0]["nats_per_row"] and found[-1]["mrr_at_10"] > found[0]["mrr_at_10"]
    ordered = artifact(port, "order", "finetune").metrics["validation"]
    assert ordered[0].keys() == {"step", "nats_per_row"} and ordered[-1]["nats_per_row"] < ordered[0]["nats_per_row"]


@functools.cache
def plain(folder: Path) -> tuple[Any, Any]:
    return AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder, dtype=torch.float32).eval()


@torch.no_grad()
def plain_vector(folder: Path, text: str, context: int) -> np.ndarray:
    tokenizer, model = plain(folder)
    ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=context)
    mean = model(**ids).last_hidden_state[0].mean(dim=0).numpy()
    return mean / np.linalg.norm(mean)


def test_anybodys_vectors_are_the_trainers(port: Path) -> None:
    trained = artifact(port, "find", "finetune")
    reference = json.loads(trained.file("reference.json").read_text("utf-8"))
    assert reference["noun"] == "vectors" and len(reference["probes"]) == 8
    for probe in reference["probes"][:4]:
        np.testing.assert_allclose(plain_vector(trained.path, probe["texts"][0], 60), probe["values"], atol=1e-4)


def test_the_folder_says_how_vectors_are_made(port: Path) -> None:
    folder = artifact(port, "find", "finetune").path
    modules = json.loads((folder / "modules.json").read_text("utf-8"))
    assert [module["type"].rsplit(".", 1)[1] for module in modules] == ["Transformer", "Pooling", "Normalize"]
    pooling = json.loads((folder / "1_Pooling" / "config.json").read_text("utf-8"))
    assert pooling["pooling_mode_mean_tokens"] is True and pooling["word_embedding_dimension"] == 32
    assert json.loads((folder / "sentence_bert_config.json").read_text("utf-8"))["max_seq_length"] == 20
    assert json.loads((folder / "tokenizer_config.json").read_text("utf-8"))["model_max_length"] == 20


def test_the_figures_are_those_of_the_folder_among_all_texts(port: Path) -> None:
    data, folder = artifact(port, "find", "data"), artifact(port, "find", "finetune").path
    evaluation = json.loads(artifact(port, "find", "evaluate").file("evaluation.json").read_text("utf-8"))
    rows = [row for part in ("train", "validation", "test") for row in read_rows(data.file(f"{part}.parquet"))]
    test = read_rows(data.file("test.parquet"))[:12]
    texts = [text_of(row) for row in rows]
    vectors = np.stack([plain_vector(folder, text, 20) for text in texts])
    first = [texts[int((vectors @ plain_vector(folder, query_of(row), 20)).argmax())] == text_of(row) for row in test]
    lines = artifact(port, "find", "evaluate").file("predictions.jsonl").read_text("utf-8").splitlines()
    ranks = {line["row_id"]: line["systems"]["tuned"]["rank"] for line in map(json.loads, lines)}
    assert [ranks[row.id] == 1 for row in test] == first
    assert list(evaluation["systems"]) == ["random", "bm25", "tfidf_cosine", "base_vectors", "tuned"]
    assert {rung["system"] for rung in evaluation["ladder"]["rungs"]} == set(evaluation["systems"])
    assert evaluation["comparisons"][0]["against"] == "base_vectors" and "nDCG@10" in evaluation["verdict"]


@pytest.mark.parametrize(("name", "file"), [("find", "pairs"), ("order", "graded"), ("order", "pairs")])
def test_queries_that_came_later_are_scored_beside_another_run(
    port: Path, name: str, file: str, tmp_path: Path
) -> None:
    """New queries of the same kind; the run itself as the other says exactly the same."""
    write_port(tmp_path, num=140)
    path = tmp_path / f"{file}.jsonl"
    lines = [line.replace(" 13", " 913") for line in path.read_text("utf-8").splitlines()[-len(WORDS) * 3 :]]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    made = evaluate_run(port / "runs" / name, data=str(path), against=port / "runs" / name)
    found = json.loads(made.file("evaluation.json").read_text("utf-8"))
    assert found["systems"]["other"] == found["systems"]["tuned"] and found["num_rows"] > 5
    assert (found["comparisons"][0]["against"], found["decision"]) == ("other", "not_shown")
    assert found["systems"]["tuned"]["metrics"]["ndcg_at_10"]["value"] > 0
    assert "candidates" not in Run(port / "runs" / name).current()


def test_a_line_with_a_vector_for_each_text(port: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = port / "runs" / "find"
    (tmp_path / "texts.txt").write_text("late parcel 3\n\n" + "parcel " * 100 + "\n", encoding="utf-8")
    predict_with_run(run, file=tmp_path / "texts.txt")
    captured = capsys.readouterr()
    lines = [json.loads(line) for line in captured.out.splitlines()]
    assert [line.get("cut", False) for line in lines] == [
        False,
        True,
    ] and "1 of 2 texts are longer than 20" in captured.err
    folder = artifact(port, "find", "finetune").path
    np.testing.assert_allclose(lines[0]["vector"], plain_vector(folder, "late parcel 3", 20), atol=1e-4)
    with pytest.raises(UserError, match="only a ranker is asked a query"):
        predict_with_run(run, "late", query="parcel")


@torch.no_grad()
def test_texts_come_out_best_first(port: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run, folder = port / "runs" / "order", artifact(port, "order", "finetune").path
    texts = ["login app please 3", "the late parcel 3", "the late help 3"]
    (tmp_path / "texts.txt").write_text("\n".join(texts), encoding="utf-8")
    predict_with_run(run, query="late parcel 3", file=tmp_path / "texts.txt")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    scores = [line["score"] for line in lines]
    assert scores == sorted(scores, reverse=True) and lines[-1]["text"] == texts[0]
    model: Any = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for line in lines:
        logit = model(**tokenizer("late parcel 3", line["text"], return_tensors="pt")).logits[0, 0]
        assert line["score"] == pytest.approx(torch.sigmoid(logit).item(), abs=1e-5)
    with pytest.raises(UserError, match="ordered for a query"):
        predict_with_run(run, "late")


def test_over_http_vectors_are_the_commands(port: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = port / "runs" / "find"
    texts = [f"{word} {number} please" for number in range(5) for word in WORDS] + ["parcel " * 100]
    lines = printed(capsys, run, *texts, folder=tmp_path)
    with over_http(run) as post:
        assert predictions(post, {"inputs": texts}) == lines and lines[-1]["cut"] is True
        shaped = post("/v1/embeddings", {"model": "find", "input": texts[:-1]}).json()["data"]
        assert [entry["embedding"] for entry in shaped] == [
            pytest.approx(line["vector"], abs=2e-6) for line in lines[:-1]
        ]
        refused = post("/v1/embeddings", {"model": "find", "input": texts}).json()["error"]
        assert refused["code"] == "context_length_exceeded" and refused["param"] == f"input[{len(texts) - 1}]"
        body = {"model": "find", "query": "late parcel 3", "documents": texts[:12], "top_n": 3}
        found = post("/v1/rerank", body).json()["results"]
        (query,) = predictions(post, {"inputs": "late parcel 3"})
        cosines = np.array([line["vector"] for line in lines[:12]]) @ np.array(query["vector"])
        assert [result["index"] for result in found] == np.argsort(-cosines)[:3].tolist()
        assert found[0]["relevance_score"] == pytest.approx(cosines.max(), abs=1e-5)
        assert post("/v1/chat/completions", {"model": "find", "messages": []}).status_code == 404


def test_over_http_the_order_is_the_commands(port: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = port / "runs" / "order"
    texts = [f"the {word} {number}" for number in range(3) for word in WORDS] + ["late parcel " * 40]
    lines = printed(capsys, run, *texts, folder=tmp_path, query="late parcel 3")
    assert len(lines) == len(texts) and sum(line.get("cut", False) for line in lines) == 1
    with over_http(run) as post:
        assert predictions(post, {"query": "late parcel 3", "texts": texts}) == lines
        body = {"model": "order", "query": "late parcel 3", "documents": texts, "return_documents": True}
        found = post("/v1/rerank", body).json()["results"]
        assert [(each["document"]["text"], each["relevance_score"]) for each in found] == [
            (line["text"], line["score"]) for line in lines
        ]
        error = post("/predict", {"inputs": texts}).json()["error"]
        assert '"query": "what is asked"' in error["message"]
        assert post("/v1/embeddings", {"model": "order", "input": "a"}).status_code == 404


def test_a_ranker_is_scored_on_the_judged_texts_of_each_query(port: Path) -> None:
    evaluation = json.loads(artifact(port, "order", "evaluate").file("evaluation.json").read_text("utf-8"))
    test = read_rows(artifact(port, "order", "data").file("test.parquet"))
    assert evaluation["num_rows"] == len({query_of(row) for row in test}) == len(test) / 3
    assert evaluation["systems"]["tuned"]["metrics"]["recall_at_10"]["value"] == 1.0
    assert evaluation["comparisons"][0]["against"] == "bm25"
    assert "candidates" not in Run(port / "runs" / "order").current()
    report = artifact(port, "order", "report").file("report.md").read_text("utf-8")
    assert "nDCG@10" in report and "Macro F1" not in report


@pytest.mark.parametrize(
    ("run", "weight", "check"),
    [
        ("find", "encoder.layer.1.output.dense.bias", "vectors, largest difference"),
        ("order", "classifier.bias", "scores, largest difference"),
    ],
)
def test_a_folder_that_says_something_else_is_refused(port: Path, run: str, weight: str, check: str) -> None:
    trained = artifact(port, run, "finetune")
    assert check_folder(trained).breach is None
    file = trained.path / "model.safetensors"
    good = file.read_bytes()
    weights = load_file(file)
    weights[weight] = weights[weight] + torch.linspace(0.1, 0.3, len(weights[weight])).to(weights[weight].dtype)
    save_file(weights, file, metadata={"format": "pt"})
    try:
        verdict = check_folder(trained)
    finally:
        file.write_bytes(good)
    assert verdict.breach is not None and verdict.breach.check == check
    with pytest.raises(CheckRefused, match="is not what was trained"):
        verdict.refuse_on_breach()


def test_scores_of_pairs_are_learned_as_an_order(port: Path) -> None:
    settings = ["name=alike", "data.source=scored.jsonl", "language=zh"]
    sail(port / "find.yaml", settings, port / "runs", log=Log(quiet=True))
    curve = artifact(port, "alike", "finetune").metrics["validation"]
    assert curve[0].keys() == {"step", "nats_per_row", "spearman"} and curve[-1]["spearman"] > curve[0]["spearman"]
    evaluation = json.loads(artifact(port, "alike", "evaluate").file("evaluation.json").read_text("utf-8"))
    assert list(evaluation["systems"]) == ["tfidf_cosine", "base_vectors", "tuned"]
    assert evaluation["comparisons"][0]["lead"] == "spearman"
    assert "斯皮尔曼" in artifact(port, "alike", "report").file("report.md").read_text("utf-8")


@pytest.mark.parametrize("kind", ["roberta", "modernbert", "distilbert"])
def test_other_families_rank_what_bm25_gets_wrong(kind: str, tmp_path: Path) -> None:
    write_port(tmp_path, kind=kind, num=60)
    settings = ["data.source=pairs.jsonl", "finetune.epochs=1", "search={negatives: 3}", "data.overlong=drop"]
    sail(tmp_path / "order.yaml", settings, tmp_path / "runs", until="check", log=Log(quiet=True))
    assert artifact(tmp_path, "order", "check").metrics["passed"]
    candidates, data = (artifact(tmp_path, "order", stage) for stage in ("candidates", "data"))
    right = {query_of(row): text_of(row) for row in read_rows(data.file("train.parquet"))}
    rows = read_rows(candidates.file("train.parquet"))
    assert len({row.id for row in rows}) == len(rows) == 4 * len(right)
    assert all((text_of(row) == right[query_of(row)]) == (row.label == "1") for row in rows)
    test = read_rows(candidates.file("test.parquet"))
    assert {query_of(row) for row in test}.isdisjoint(right) and {row.label for row in test} == {"0", "1"}
    sail(tmp_path / "order.yaml", [*settings, "name=again"], tmp_path / "runs", until="finetune", log=Log(quiet=True))
    again = artifact(tmp_path, "again", "candidates")
    assert again.manifest.files["train.parquet"] == candidates.manifest.files["train.parquet"]


def test_negatives_of_the_rows_are_wrong_answers_too(tmp_path: Path) -> None:
    write_port(tmp_path, num=60)
    rows = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    text = "".join(json.dumps({**row, "negative": f"no answer {n}"}) + "\n" for n, row in enumerate(rows))
    (tmp_path / "pairs.jsonl").write_text(text)
    settings = ["data.source=pairs.jsonl", "finetune.epochs=1", "search={negatives: 1}"]
    sail(tmp_path / "order.yaml", settings, tmp_path / "runs", until="finetune", log=Log(quiet=True))
    made = read_rows(artifact(tmp_path, "order", "candidates").file("train.parquet"))
    assert sum(text_of(row).startswith("no answer") for row in made if row.label == "0") >= len(made) / 3


def test_an_encoder_of_another_pooling_is_refused(tmp_path: Path) -> None:
    write_port(tmp_path, num=60)
    (tmp_path / "encoder" / "1_Pooling").mkdir()
    modes = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    (tmp_path / "encoder" / "1_Pooling" / "config.json").write_text(json.dumps(modes))
    with pytest.raises(ModelError, match="made by cls_token, not as the mean"):
        sail(tmp_path / "find.yaml", [], tmp_path / "runs", until="finetune", log=Log(quiet=True))


def test_verbs_that_do_not_apply_are_refused(port: Path) -> None:
    for run, words in (("find", "gives a text a vector"), ("order", "scores texts for a query")):
        with pytest.raises(UserError, match=words):
            read_run(port / "runs" / run)
        with pytest.raises(RecipeError, match="an encoder is not exported"):
            sail(port / f"{run}.yaml", [], port / "runs", until="export", log=Log(quiet=True))


@pytest.mark.parametrize("task", ["embed", "rank"])
@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("finetune.method=lora", "trains all weights"),
        ("data.overlong=split", "no longer what its row speaks of"),
        ("finetune.watch.samples=[hello]", "writes nothing"),
        ("template=chatml", "not conversations"),
    ],
)
def test_settings_that_do_not_fit_are_refused(task: str, setting: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(f"task: {task}\ndata: t.csv\n", encoding="utf-8")
    with pytest.raises(RecipeError, match=words):
        load_recipe(path, [setting])


def test_defaults_are_told_and_read_back_and_search_is_for_searching(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("task: embed\ndata: t.csv\nfinetune: {epochs: 3}\n", encoding="utf-8")
    recipe = load_recipe(path).recipe
    assert (recipe.base, recipe.finetune.epochs, recipe.finetune.batch_tokens) == ("minilm-l6", 3, 8192)
    assert recipe.data.near_duplicates == 1.0 and recipe.data.overlong == "cut" and recipe.search.scale == 20.0
    assert type(recipe).model_validate(recipe.resolved()) == recipe
    path.write_text("task: classify\ndata: t.csv\nsearch: {scale: 10}\n", encoding="utf-8")
    with pytest.raises(RecipeError, match="search is for the tasks embed and rank"):
        load_recipe(path)


@pytest.mark.parametrize(("file", "task"), [("pairs", "embed"), ("graded", "rank"), ("scored", "embed")])
def test_a_recipe_is_written_for_pairs(
    file: str, task: str, port: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(str(port / f"{file}.jsonl"), out=tmp_path / "new.yaml")
    recipe = load_recipe(tmp_path / "new.yaml").recipe
    assert (
        recipe.task == task and recipe.base == "minilm-l6" and "no query stands" in (tmp_path / "new.yaml").read_text()
    )
    assert capsys.readouterr().out.strip() == str(tmp_path / "new.yaml")
