"""Each task that says something of a text, on its whole voyage: figures, the check, and what predict prints."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from models import toy_encoder
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from setsail.base.errors import RecipeError, UserError
from setsail.base.log import Log
from setsail.base.run import Run
from setsail.stages.answering.predicting import predict_with_run
from setsail.stages.answering.serving import read_run
from setsail.stages.scores.evaluating import evaluate_run
from setsail.stages.search.tuning import tune
from setsail.stages.voyage import sail

from .over_http import over_http, predictions, printed

pytestmark = pytest.mark.slow
WORDS = ["parcel", "box", "late", "broken", "invoice", "wrong", "sum", "refund", "login", "password", "app", "crash"]
NAMES = {"anna": "PER", "ben": "PER", "carl": "PER", "rome": "LOC", "oslo": "LOC", "lima": "LOC"}


def encoder(folder: Path) -> Path:
    """A tiny encoder that knows the words of these tests."""
    toy_encoder.write_folder(folder, hidden_dropout_prob=0.0)
    words = [
        *WORDS,
        *NAMES,
        *["the", "a", "in", "who", "is", "where", "lives", "works", "at", "home", "today", "quick", "$", "#", "?"],
        *"abcdefghij0123456789",
    ]
    made = toy_encoder.tokenizer([*toy_encoder._WORDS.split(), *words])
    made.save(str(folder / "tokenizer.json"))
    config = json.loads((folder / "config.json").read_text())
    grown = toy_encoder.AutoModelForMaskedLM.from_config(
        toy_encoder.config(hidden_dropout_prob=0.0, vocab_size=made.get_vocab_size())
    )
    assert config["model_type"] == "bert"
    grown.save_pretrained(folder)
    return folder


def labels_rows(draw: Random) -> list[dict[str, Any]]:
    """Several labels: each word of three betrays one."""
    rows = []
    for _ in range(240):
        words = draw.sample(WORDS, 5)
        rows.append(
            {"text": " ".join(words), "labels": [word for word in ("late", "broken", "refund") if word in words]}
        )
    return rows


def score_rows(draw: Random) -> list[dict[str, Any]]:
    """A score from 10 to 50: ten for each time that a word stands."""
    rows = []
    for _ in range(240):
        count = draw.randint(0, 4)
        words = ["late"] * count + draw.choices(WORDS[4:], k=6 - count)
        draw.shuffle(words)
        rows.append({"text": " ".join(words), "score": 10 + 10 * count})
    return rows


def graded_rows(draw: Random) -> list[dict[str, Any]]:
    """Ten points for each time that a word stands, and twenty more where the rubric says so."""
    rows = []
    for row in score_rows(draw):
        is_kind = draw.random() < 0.5
        rubric = "the home is quick" if is_kind else "who works today"
        rows.append({"rubric": rubric, "answer": row["text"], "grade": row["score"] + 20 * is_kind})
    return rows


def lengthened(text: str, draw: Random) -> str:
    """One text in four with words before and behind it: some are longer than the context, and learned in windows."""
    if draw.random() < 0.75:
        return text
    before, behind = (" ".join(draw.choices(WORDS, k=draw.randint(1, 60))) for _ in range(2))
    return f"{before} {text} {behind}"


def tag_rows(draw: Random) -> list[dict[str, Any]]:
    rows = []
    for _ in range(240):
        name, place = draw.choice(["anna", "ben", "carl"]), draw.choice(["rome", "oslo", "lima"])
        text = lengthened(f"{' '.join(draw.sample(WORDS, 3))} {name} lives in {place} {draw.choice(WORDS)}", draw)
        spans = [
            [text.index(name), text.index(name) + len(name), "PER"],
            [text.index(place), text.index(place) + 4, "LOC"],
        ]
        rows.append({"text": text, "spans": spans})
    return rows


def relation_rows(draw: Random) -> list[dict[str, Any]]:
    """A person lives or works somewhere, or is only named with a place."""
    rows = []
    for _ in range(240):
        name, place = draw.choice(["anna", "ben", "carl"]), draw.choice(["rome", "oslo", "lima"])
        verb = draw.choice(["lives in", "works at", "today the"])
        text = f"{' '.join(draw.sample(WORDS, 3))} {name} {verb} {place} {draw.choice(WORDS)}"
        relation = verb.split()[0] if verb != "today the" else "nothing"
        rows.append({"text": text, "head": name, "tail": place, "relation": relation})
    return rows


def answer_rows(draw: Random) -> list[dict[str, Any]]:
    """Half of the questions have an answer: the place after "in"."""
    rows = []
    for _ in range(300):
        name, place = draw.choice(["anna", "ben", "carl"]), draw.choice(["rome", "oslo", "lima"])
        told = draw.random() < 0.5
        words = " ".join(draw.sample(WORDS, 4))
        text = f"{words} {name} lives in {place} today" if told else f"{words} {name} works at home today"
        text = lengthened(text, draw)
        answers = {"text": [place], "answer_start": [text.index(place)]} if told else {"text": [], "answer_start": []}
        rows.append({"question": f"where is {name} ?", "context": text, "answers": answers})
    return rows


LONG = ("tag", "answer")  # whose rows hold texts longer than the context
MAKERS: dict[str, Callable[[Random], list[dict[str, Any]]]] = {
    "labels": labels_rows,
    "regress": score_rows,
    "grade": graded_rows,
    "tag": tag_rows,
    "relate": relation_rows,
    "answer": answer_rows,
}


@pytest.fixture(scope="module", params=MAKERS)
def port(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The task and the folder of its run."""
    task = request.param
    folder = tmp_path_factory.mktemp(task)
    encoder(folder / "encoder")
    rows = MAKERS[task](Random(7))
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    recipe = f"""
name: {task}
task: {"classify" if task == "labels" else task}
base: ./encoder
data:
  source: rows.jsonl
  columns: {"{text: answer}" if task == "grade" else "{}"}
  near_duplicates: 1.0
  clean: none
  overlong: {"split" if task in LONG else "drop"}
  no_relation: {"[nothing]" if task == "relate" else "[]"}
finetune: {{epochs: 12, batch_tokens: 128, context: 64, learning_rate: 4e-3}}
evaluate: {{resamples: 200, samples: 3}}
check: {{prompts: 8}}
"""
    (folder / f"{task}.yaml").write_text(recipe, encoding="utf-8")
    sail(folder / f"{task}.yaml", [], folder / "runs", log=Log(quiet=True))
    return task, folder / "runs" / task


def evaluation(run: Path) -> dict[str, Any]:
    return json.loads(Run(run).artifact("evaluate").file("evaluation.json").read_text("utf-8"))


LEADS = {
    "labels": "micro_f1",
    "regress": "r2",
    "grade": "r2",
    "tag": "entity_f1",
    "relate": "macro_f1",
    "answer": "token_f1",
}


def test_what_was_learned_is_better_than_saying_the_same_of_all(port: tuple[str, Path]) -> None:
    task, run = port
    found = evaluation(run)
    lead = {name: scores["metrics"][LEADS[task]]["value"] for name, scores in found["systems"].items()}
    dullest = {
        "labels": "majority",
        "regress": "mean",
        "grade": "mean",
        "tag": "dictionary",
        "relate": "majority",
        "answer": "none",
    }[task]
    assert lead["tuned"] > 0.8, lead
    assert lead["tuned"] > lead[dullest] or task == "tag", lead
    rungs = {rung["system"] for rung in found["ladder"]["rungs"]}
    assert rungs == set(found["systems"]) and found["ladder"]["stop"] in rungs


def test_a_run_teaches_a_smaller_one_that_never_hears_what_the_rows_say(port: tuple[str, Path]) -> None:
    task, run = port
    teaching = f"finetune.distil={{teacher: runs/{task}, weight: 1.0, hidden: 0.5}}"
    settings = ["name=student", f"base={{prune: runs/{task}, layers: 1}}", teaching, "finetune.epochs=4"]
    sail(run.parent.parent / f"{task}.yaml", settings, run.parent, until="finetune", log=Log(quiet=True))
    curve = Run(run.parent / "student").artifact("finetune").metrics["validation"]
    assert curve[-1]["nats_per_row"] < 0.8 * curve[0]["nats_per_row"], curve


def test_rows_that_came_later_are_scored(port: tuple[str, Path], tmp_path: Path) -> None:
    task, run = port
    rows = MAKERS[task](Random(99))[:60]
    (tmp_path / "later.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    made = evaluate_run(run, data=str(tmp_path / "later.jsonl"), against=run)
    found = json.loads(made.file("evaluation.json").read_text("utf-8"))
    assert found["num_rows"] + len(found["contamination"]["exact"]) + len(found["contamination"]["near"]) == 60
    tuned, other = (found["systems"][name]["metrics"][LEADS[task]] for name in ("tuned", "other"))
    assert tuned == other and tuned["value"] > 0.7
    assert found["comparisons"][0]["against"] == "other" and found["decision"] == "not_shown"
    assert found["slices"]["metric"] in (LEADS[task], "accuracy")


def test_that_two_names_have_no_relation_is_no_find(port: tuple[str, Path], tmp_path: Path) -> None:
    task, run = port
    if task != "relate":
        return
    made = Run(run).artifact("evaluate")
    lines = [json.loads(line) for line in made.file("predictions.jsonl").read_text("utf-8").splitlines()]
    for name, scores in evaluation(run)["systems"].items():
        pairs = [(line["label"], line["systems"][name]["label"]) for line in lines]
        true, said = [each for each, _ in pairs if each != "nothing"], [each for _, each in pairs if each != "nothing"]
        right = sum(left == right != "nothing" for left, right in pairs)
        assert scores["metrics"]["micro_f1"]["value"] == pytest.approx(2 * right / (len(true) + len(said)))
    (tmp_path / "pairs.jsonl").write_text(
        "".join(
            json.dumps({"text": f"anna {words} rome", "head": "anna", "tail": "rome"}) + "\n"
            for words in ("today the", "works at")
        )
    )
    predict_with_run(run, None, file=tmp_path / "pairs.jsonl", graph=tmp_path / "graph")
    drawn = (tmp_path / "graph" / "graph.graphml").read_text("utf-8")
    assert "works" in drawn and "nothing" not in drawn


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("[nothin]", 'no row has the relation "nothin"'),
        ("[lives, works, nothing]", "there is nothing to find"),
    ],
)
def test_a_relation_that_is_none_is_one_of_the_rows(
    port: tuple[str, Path], settings: str, said: str, tmp_path: Path
) -> None:
    task, run = port
    if task != "relate":
        return
    with pytest.raises(RecipeError, match=said):
        recipe = run.parents[1] / "relate.yaml"
        sail(recipe, [f"data.no_relation={settings}"], tmp_path, until="prepare", log=Log(quiet=True))


def test_a_search_tries_the_linear_model_of_several_labels(port: tuple[str, Path], tmp_path: Path) -> None:
    task, run = port
    if task != "labels":
        return
    settings = ["tune={trials: 2, space: {base: [linear, ./encoder], linear.inverse_penalty: [10.0]}}"]
    outcome = tune(run.parents[1] / "labels.yaml", settings, tmp_path, log=Log(quiet=True))
    trials = json.loads((tmp_path / "labels" / "tune" / "tune.json").read_text("utf-8"))["trials"]
    linear, trained = sorted(trials, key=lambda trial: trial["settings"]["base"] != "linear")
    assert linear["facts"]["micro_f1"] > 0.9 and "accuracy" not in linear["facts"]
    assert 0 < linear["score"] < 3 * math.log(2)  # three questions, each worth less than a coin
    assert trained["facts"]["micro_f1"] > 0.8 and outcome["test"]["micro_f1"][0] > 0.8


def test_the_report_says_it_in_words(port: tuple[str, Path]) -> None:
    run = port[1]
    page = (Run(run).artifact("report").path / "report.md").read_text("utf-8")
    assert "Where to stop" in page and evaluation(run)["verdict"][:40] in page


QUESTIONS = {
    "labels": ("parcel late broken login app", {"labels", "text"}),
    "regress": ("late late late parcel", {"score", "text"}),
    "grade": ('{"rubric": "the home is quick", "text": "late late broken sum"}', {"score", "text", "rubric"}),
    "tag": ("parcel box late anna lives in rome invoice", {"spans", "text"}),
    "relate": ('{"text": "anna works at rome", "head": "anna", "tail": "rome"}', {"relation", "probability"}),
    "answer": (
        '{"question": "where is ben ?", "context": "parcel box late sum ben lives in oslo today"}',
        {"answer", "start", "end"},
    ),
}


def test_predict_prints_what_the_task_says(port: tuple[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    task, run = port
    question, keys = QUESTIONS[task]
    predict_with_run(run, question)
    (line,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert keys <= set(line) and "probabilities" not in line
    if task == "labels":
        assert "late" in line["labels"] and "refund" not in line["labels"]
    if task == "grade":
        predict_with_run(run, question.replace("the home is quick", "who works today"))
        other = json.loads(capsys.readouterr().out)
        assert 40 < line["score"] < 70 and 8 < line["score"] - other["score"] < 32
    if task == "regress":
        assert 25 < line["score"] < 55
    if task == "tag":
        assert [(each["text"], each["label"]) for each in line["spans"]] == [("anna", "PER"), ("rome", "LOC")]
    if task == "relate":
        assert line["relation"] == "works"
    if task == "answer":
        assert line["answer"] == "oslo" and question.count("oslo") == 1


def test_anybodys_transformers_says_the_same(port: tuple[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    task, run = port
    folder = str(Run(run).artifact("finetune").path)
    predict_with_run(run, QUESTIONS[task][0], every=True)
    ours = json.loads(capsys.readouterr().out)
    if task == "tag":
        named: Any = pipeline("token-classification", model=folder, dtype=torch.float32)
        assert [each["entity"] for each in named(ours["text"])] == ["B-PER", "B-LOC"]
    if task == "regress":
        model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
        tokens = AutoTokenizer.from_pretrained(folder)(ours["text"], return_tensors="pt")
        with torch.no_grad():
            assert float(model(**tokens).logits[0, 0]) == pytest.approx(ours["score"], abs=1e-3)
    if task == "labels":
        said: Any = pipeline("text-classification", model=folder, dtype=torch.float32, top_k=None)
        theirs = {each["label"]: each["score"] for each in said([ours["text"]])[0]}
        assert theirs == pytest.approx(ours["probabilities"], abs=1e-4)


@pytest.mark.parametrize("before", [0, 45, 52, 150])
def test_a_long_text_is_read_in_windows_to_its_end(
    port: tuple[str, Path], before: int, capsys: pytest.CaptureFixture[str]
) -> None:
    task, run = port
    around = Random(3).choices(WORDS, k=200)
    text = " ".join([*around[:before], "carl", "lives", "in", "lima", *around[: 150 - before]])
    if task == "tag":
        predict_with_run(run, text)
        (line,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        names = [(text[each["start"] : each["end"]], each["label"]) for each in line["spans"]]
        assert names == [("carl", "PER"), ("lima", "LOC")] and "cut" not in line
    if task == "answer":
        predict_with_run(run, json.dumps({"question": "where is carl ?", "context": text}))
        (line,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert line["answer"] == "lima" == text[line["start"] : line["end"]] and "cut" not in line
        assert 0 <= line["probability"] <= 1


def test_a_question_that_lacks_a_part_is_told_which(port: tuple[str, Path]) -> None:
    task, run = port
    if task not in ("relate", "answer", "grade"):
        return
    with pytest.raises(UserError, match="there is no") as refused:
        predict_with_run(run, "only a text")
    assert refused.value.hint and '"' in refused.value.hint
    if task == "relate":
        with pytest.raises(UserError, match="head does not stand in the text"):
            predict_with_run(run, '{"text": "anna works", "head": "zoe", "tail": "anna"}')


def test_over_http_it_says_what_the_command_prints(
    port: tuple[str, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    task, run = port
    other = MAKERS[task](Random(11))[:40]
    asked = [QUESTIONS[task][0], *(question(task, row) for row in other)]
    lines = printed(capsys, run, *asked, folder=tmp_path, every=True)
    assert len(lines) == 41 and len({json.dumps(line) for line in lines}) > 20
    inputs = [json.loads(text) if text.startswith("{") else text for text in asked]
    with over_http(run) as post:
        assert predictions(post, {"inputs": inputs, "probabilities": True}) == lines
        alone = predictions(post, {"inputs": inputs[0]})
        assert alone == printed(capsys, run, asked[0], folder=tmp_path)
        refused = post("/predict", {"inputs": ["parcel", ""]}).json()["error"]
        assert refused["code"] == "invalid_value" and refused["param"].startswith("inputs[")
        if task == "answer":
            long = {"question": "where " * 70, "context": "anna lives in rome"}
            error = post("/predict", {"inputs": [inputs[0], long]}).json()["error"]
            assert error["param"] == "inputs[1]" and "question alone fills the context of 64" in error["message"]
            with pytest.raises(UserError, match="alone fills the context"):
                predict_with_run(run, json.dumps(long))
        for strange in ("\u200b", "late " * 100, "\x00"):
            text = {"head": "late", "tail": "late", "question": strange, "context": strange, "text": strange}
            assert post("/predict", {"inputs": [text]}).status_code in (200, 400)
        assert post("/v1/embeddings", {"model": task, "input": "a"}).status_code == 404


def question(task: str, row: dict[str, Any]) -> str:
    """A row as a question, its answer left out."""
    if task in ("relate", "answer"):
        return json.dumps({name: value for name, value in row.items() if name not in ("relation", "answers")})
    if task == "grade":
        return json.dumps({"rubric": row["rubric"], "text": row["answer"]})
    return row["text"]


def test_it_cannot_be_talked_to_and_says_what_it_does(port: tuple[str, Path]) -> None:
    with pytest.raises(UserError, match=r"this run is an? \w+: it .*cannot be talked to") as refused:
        read_run(port[1])
    assert refused.value.hint and f"setsail serve {port[1]}" in refused.value.hint
