"""The programs of bundles say what the predictors say of the same file, task by task, in a process without setsail."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from models import toy_encoder

from setsail.base.errors import CheckRefused
from setsail.base.target import Head
from setsail.compress.bundle import ENGINES, differences, try_program, write_program
from setsail.compress.onnx_export import export_f32
from setsail.models import words
from setsail.models.load import save_model
from setsail.models.onnx_model import OnnxSettings, load_onnx
from setsail.models.reader import limit_length, new_reader
from setsail.models.words import build_words
from setsail.stages.answering.onnx_predictors import predictor_of
from setsail.tasks.prediction import question_of

CONTEXT = 24
LONG = "parcel box late " * 20
CASES: dict[str, tuple[Head, tuple[str, ...], list[dict[str, Any]]]] = {
    "classify": ("document", ("a", "b", "c"), [{"text": "the parcel came late"}, {"text": "快递坏了"}, {"text": LONG}]),
    "labels": ("document", ("a", "b", "c"), [{"text": "the parcel came late"}, {"text": "broken box 12"}]),
    "regress": ("document", ("score",), [{"text": "the parcel came late"}, {"text": LONG}]),
    "grade": (
        "document",
        ("score",),
        [{"rubric": "the parcel came", "text": "it came late"}, {"rubric": "broken box ?", "text": LONG}],
    ),
    "relate": (
        "document",
        ("x", "y"),
        [
            {"text": "order in the box", "head": "order", "tail": "box"},
            {"text": "the box is in order", "head": [14, 19], "tail": [4, 7]},
        ],
    ),
    "tag": (
        "token",
        ("O", "B-P", "I-P", "B-Q", "I-Q"),
        [{"text": "the parcel came late please help my order"}, {"text": "box 快递坏了 refund"}],
    ),
    "answer": (
        "token",
        ("start", "end"),
        [
            {"question": "broken box ?", "context": "the parcel came late please help my order"},
            {"question": "help", "context": "app"},
        ],
    ),
    "rank": (
        "document",
        ("score",),
        [{"query": "late parcel", "text": "the parcel came late"}, {"query": "login " * 8, "text": LONG}],
    ),
}


@pytest.fixture(params=list(CASES))
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """A task, and an exported bag of words that says something for it."""
    task = request.param
    head, labels, _ = CASES[task]
    words.register()
    save_model(build_words("bag", 40_000, vocabulary=100, context=64, pad=0, seed=1), tmp_path / "base")
    model = new_reader(tmp_path / "base", labels, dtype=torch.float32, seed=3, head=head, problem=None)
    save_model(toy_encoder.lively(model), tmp_path / "model")
    toy_encoder.tokenizer().save(str(tmp_path / "model" / "tokenizer.json"))
    named = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **named}
    (tmp_path / "model" / "tokenizer_config.json").write_text(json.dumps(config))
    limit_length(tmp_path / "model", CONTEXT)
    out = tmp_path / "edge"
    out.mkdir()
    inputs = export_f32(tmp_path / "model", out / "model-f32.onnx", says="logits", head=head, context=CONTEXT)
    shutil.copyfile(out / "model-f32.onnx", out / "model.onnx")
    shutil.copyfile(tmp_path / "model" / "tokenizer.json", out / "tokenizer.json")
    head = "span" if task == "answer" else head
    OnnxSettings(task, "logits", head, labels, CONTEXT, inputs, 0, 1, ("f32",)).write(out)
    write_program(out, task, engine="onnx")
    return task, out


def test_the_program_says_what_the_predictor_says(folder: tuple[str, Path]) -> None:
    task, out = folder
    predictor = predictor_of(load_onnx(out))
    for fields in CASES[task][2]:
        (answer,) = predictor.answers([question_of(predictor, fields)])
        said, measured = try_program(out, fields)
        expected = {name: value for name, value in answer.said.items() if name != "probabilities"}
        assert differences(expected, said) == [], (expected, said)
        assert set(said) == set(fields) | set(expected)
        assert measured.first_seconds > 0 and (measured.peak_bytes or 10**9) > 10**7


def test_requirements_are_pinned_and_few(folder: tuple[str, Path]) -> None:
    lines = (folder[1] / "requirements.txt").read_text().splitlines()
    assert [line.split("==")[0] for line in lines] == list(ENGINES["onnx"])
    assert all(line.split("==")[1] for line in lines)


def test_a_program_that_breaks_is_told_with_its_last_words(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text("import torch\n")
    with pytest.raises(CheckRefused, match=r"gave no answer[\s\S]*import of torch halted"):
        try_program(tmp_path, {"text": "a"})


def test_what_is_another_answer_and_what_is_not() -> None:
    ours = {"label": "a", "probability": 0.5, "spans": [{"start": 1}], "vector": [0.1, 0.2], "cut": True}
    assert differences(ours, {**ours, "text": "t", "probability": 0.50002}) == []
    assert differences(ours, {**ours, "probability": 0.51}) == ["probability"]
    assert differences(ours, {**ours, "spans": []}) == ["spans"]
    assert differences(ours, {**ours, "vector": [0.1, 0.3]}) == ["vector"]
    assert differences(ours, {**ours, "cut": 1}) == ["cut"]
    assert differences(ours, {"label": "a"}) == ["probability", "spans", "vector", "cut"]
