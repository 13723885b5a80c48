from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import torch
from models import toy_model
from tokenizers import Tokenizer as Backend
from tokens import toy
from transformers import AutoTokenizer

from setsail.base.errors import ModelError, RecipeError
from setsail.base.log import Log
from setsail.base.run import Run
from setsail.models.load import load_model
from setsail.stages.voyage import sail
from setsail.tokens.tokenizer import load
from stages.conftest import write_stories

FILES = {"tokenizer.json", "tokenizer_config.json", "report.json", "report.md"}


def made(path: Path, *settings: str, until: str = "tokenizer") -> Run:
    runs = path.parent / "runs"
    sail(path, settings, runs, until=until, log=Log(stream=io.StringIO()))
    return Run(runs / "new")


def recipe_with(folder: Path, tokenizer: str, base: str = "base: {new: 1m}") -> Path:
    path = write_stories(folder)
    text = path.read_text("utf-8").replace("base: {new: 1m, vocabulary: 300}", f"{base}\ntokenizer: {tokenizer}")
    path.write_text(text, encoding="utf-8")
    return path


def test_a_new_base_takes_the_tokenizer_that_the_verb_makes(tmp_path: Path) -> None:
    path = recipe_with(tmp_path, "{vocabulary: 304, special_tokens: ['<|scene|>'], template: chatml}")
    run = made(path, until="tokenizer")
    first = run.artifact("tokenizer")
    assert set(first.manifest.files) == FILES | {"chat_template.jinja"}
    assert AutoTokenizer.from_pretrained(first.path).convert_tokens_to_ids("<|scene|>") == 3
    made(path, until="pretrain")
    base = run.artifact("base")
    assert base.manifest.parents == {"tokenizer": first.id}
    assert load(base.path).backend.to_str() == load(first.path).backend.to_str()


def test_without_a_size_the_curve_is_measured_and_reported(tmp_path: Path) -> None:
    run = made(recipe_with(tmp_path, "{}"))
    report = json.loads(run.artifact("tokenizer").file("report.json").read_text("utf-8"))
    sizes = [point["vocabulary"] for point in report["curve"]]
    assert report["chosen"] in sizes and report["num_tokens"] == report["chosen"]
    assert "## The size" in run.artifact("tokenizer").file("report.md").read_text("utf-8")


def test_others_are_compared_on_the_same_texts(tmp_path: Path) -> None:
    toy.write_folder(tmp_path / "other", toy.byte_level())
    run = made(recipe_with(tmp_path, "{vocabulary: 304, compare: [other]}"))
    report = json.loads(run.artifact("tokenizer").file("report.json").read_text("utf-8"))
    assert {"this one", "other"} <= set(report["tokenizers"])
    sizes = {each["num_bytes"] for each in report["tokenizers"].values()}
    assert len(sizes) == 1


@pytest.mark.parametrize("kind", ["unigram", "wordpiece"])
def test_the_other_kinds_are_folders_that_transformers_loads(kind: str, tmp_path: Path) -> None:
    run = made(recipe_with(tmp_path, f"{{kind: {kind}, vocabulary: 400}}", "base: base"))
    folder = run.artifact("tokenizer").path
    text = "The cat likes the dog."
    theirs = AutoTokenizer.from_pretrained(folder)(text, add_special_tokens=False)["input_ids"]
    assert theirs == load(folder).encode(text)


def test_an_extended_base_has_a_row_for_each_new_token(tmp_path: Path) -> None:
    port_base = tmp_path / "base"
    toy_model.write_folder(port_base)
    path = recipe_with(tmp_path, "{extend: base, add: 20}", "base: base")
    run = made(path, "pretrain.context=64", until="pretrain")
    tokenizer, base = load(run.artifact("tokenizer").path), run.artifact("base")
    rows = load_model(base.path, dtype=torch.float32).get_input_embeddings().weight
    assert isinstance(rows, torch.Tensor) and len(rows) >= tokenizer.num_ids == load(port_base).num_ids + 20
    assert load(base.path).num_ids == tokenizer.num_ids


def test_what_does_not_fit_is_said_before_anything_is_made(tmp_path: Path) -> None:
    for tokenizer, words in (
        ("{kind: unigram}", "takes a byte-level tokenizer"),
        ("{kind: unigram, extend: smollm2-135m-instruct}", "extend adds merges to a byte-level BPE"),
        ("{vocabulary: 100}", "300"),
    ):
        with pytest.raises(RecipeError, match=words):
            made(recipe_with(tmp_path, tokenizer))
    with pytest.raises(ModelError, match=r'"nowhere" has no tokenizer\.json'):
        made(recipe_with(tmp_path, "{vocabulary: 304, compare: [nowhere]}"))
    with pytest.raises(RecipeError, match="know their own tokenizer"):
        made(recipe_with(tmp_path, "{vocabulary: 304}", "base: base"), until="pretrain")


def test_a_special_token_in_the_texts_is_told(tmp_path: Path) -> None:
    path = recipe_with(tmp_path, "{vocabulary: 304, special_tokens: [cat]}")
    report = json.loads(made(path).artifact("tokenizer").file("report.json").read_text("utf-8"))
    assert report["special_tokens_in_texts"]["cat"] > 0


def test_the_same_rows_give_the_same_file(tmp_path: Path) -> None:
    files = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        run = made(recipe_with(tmp_path / name, "{vocabulary: 304}"))
        files.append(run.artifact("tokenizer").file("tokenizer.json").read_bytes())
    assert files[0] == files[1] and Backend.from_str(files[0].decode()).get_vocab_size() == 304
