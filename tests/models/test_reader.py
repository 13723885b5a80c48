from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from models import toy_encoder, toy_model
from setsail.base.errors import ModelError
from setsail.base.log import Log
from setsail.models.fused import fuse, unfuse
from setsail.models.load import save_model
from setsail.models.plain_reader import load_plain
from setsail.models.reader import import_encoder, limit_length, new_reader, packed_logits
from setsail.models.sources import resolve_base

LABELS = ("billing", "delivery 2", "登录")
LENGTHS = (9, 1, 30, 4, 17, 2)


def documents(*, seed: int = 1) -> list[torch.Tensor]:
    """Random documents, some with a padding token in them, as somebody may have typed it."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, 60, (length,), generator=generator) for length in LENGTHS]


def packed(model: torch.nn.Module, texts: list[torch.Tensor]) -> torch.Tensor:
    starts = torch.tensor([0, *torch.tensor([len(text) for text in texts]).cumsum(0)], dtype=torch.int32)
    return packed_logits(model, torch.cat(texts), starts)


@pytest.fixture(params=toy_encoder.KINDS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return toy_encoder.write_folder(tmp_path / request.param, request.param)


@torch.no_grad()
def test_packed_logits_are_those_of_each_document_alone(folder: Path) -> None:
    model = toy_encoder.lively(new_reader(folder, LABELS, dtype=torch.float32, seed=1))
    texts = documents()
    alone = torch.cat([model(input_ids=text[None], attention_mask=torch.ones(1, len(text))).logits for text in texts])
    assert alone.std(dim=0).min() > 0.01, "documents that all come out alike would prove nothing"
    torch.testing.assert_close(packed(model, texts), alone, atol=1e-5, rtol=1e-4)
    fuse(model)
    torch.testing.assert_close(packed(model, texts), alone, atol=1e-5, rtol=1e-4)


def test_fused_gradients_are_those_of_plain_modules(folder: Path) -> None:
    gradients = []
    for is_fused in (False, True):
        model = new_reader(folder, LABELS, dtype=torch.float32, seed=1).requires_grad_(True)
        if is_fused:
            fuse(model)
        packed(model, documents()).pow(2).sum().backward()
        gradients.append({name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-4, rtol=1e-3, msg=name)


def test_mean_and_first_token_are_both_pooled_as_the_family_does(tmp_path: Path) -> None:
    for pooling in ("cls", "mean"):
        folder = toy_encoder.write_folder(tmp_path / pooling, "modernbert", classifier_pooling=pooling)
        model = toy_encoder.lively(new_reader(folder, LABELS, dtype=torch.float32, seed=1))
        with torch.no_grad():
            alone = torch.cat([model(input_ids=text[None]).logits for text in documents()])
            torch.testing.assert_close(packed(model, documents()), alone, atol=1e-5, rtol=1e-4)


def test_the_head_is_new_and_a_function_of_the_seed(tmp_path: Path) -> None:
    folder = toy_encoder.write_folder(tmp_path / "base")
    first, again, other = (new_reader(folder, LABELS, dtype=torch.float32, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.classifier.weight, again.classifier.weight)
    assert torch.equal(first.bert.pooler.dense.weight, again.bert.pooler.dense.weight)  # the folder has none
    assert not torch.equal(first.classifier.weight, other.classifier.weight)
    encoder = AutoModel.from_pretrained(folder)
    assert torch.equal(first.bert.embeddings.word_embeddings.weight, encoder.embeddings.word_embeddings.weight)
    save_model(first, tmp_path / "trained")  # a classifier as the base of another one: its head is not taken over
    next_one = new_reader(tmp_path / "trained", LABELS, dtype=torch.float32, seed=2)
    assert torch.equal(next_one.classifier.weight, other.classifier.weight)


def test_what_is_saved_loads_anywhere_with_its_labels(folder: Path, tmp_path: Path) -> None:
    base, out = tmp_path / "base", tmp_path / "out"
    import_encoder(resolve_base(str(folder)), base, Log(quiet=True))
    model = toy_encoder.lively(new_reader(base, LABELS, dtype=torch.float32, seed=1))
    fuse(model)
    unfuse(model)
    save_model(model, out)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (out / name).write_bytes((base / name).read_bytes())
    limit_length(out, 12)
    theirs = AutoModelForSequenceClassification.from_pretrained(out)
    assert theirs.config.id2label == dict(enumerate(LABELS)) and theirs.config.label2id["登录"] == 2
    assert theirs.config.problem_type == "single_label_classification"
    text = "the parcel came late broken box invoice wrong 快递坏了"
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert len(tokenizer(text)["input_ids"]) > 12, "nothing cuts in silence"
    plain = load_plain(out)
    assert plain.labels == LABELS and plain.context == 12
    cut = tokenizer(text, truncation=True, return_tensors="pt")
    assert cut["input_ids"].shape == (1, 12)
    with torch.no_grad():
        expected = theirs(**cut).logits
        torch.testing.assert_close(torch.tensor(np.stack(plain.logits([text]))).float(), expected)
        torch.testing.assert_close(packed(model, [cut["input_ids"][0]]), expected, atol=1e-5, rtol=1e-4)


def test_many_at_once_are_what_they_are_alone(folder: Path, tmp_path: Path) -> None:
    import_encoder(resolve_base(str(folder)), tmp_path / "base", Log(quiet=True))
    save_model(new_reader(tmp_path / "base", LABELS, dtype=torch.float32, seed=1), tmp_path / "out")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "out" / name).write_bytes((tmp_path / "base" / name).read_bytes())
    limit_length(tmp_path / "out", 60)
    plain = load_plain(tmp_path / "out")
    texts = ["the parcel came late", "refund", "快 递 坏 了 ! please help my order", "app"]
    torch.testing.assert_close(plain.logits(texts, at_once=3), plain.logits(texts), atol=1e-5, rtol=1e-4)


def test_an_import_neither_cuts_nor_pads_and_knows_its_positions(folder: Path, tmp_path: Path) -> None:
    info = import_encoder(resolve_base(str(folder)), tmp_path / "base", Log(quiet=True))
    assert info.context == 64  # RoBERTa's toys have 65 positions, of which the padding keeps one
    settings = json.loads((tmp_path / "base" / "tokenizer.json").read_text("utf-8"))
    assert settings["truncation"] is None and settings["padding"] is None
    assert json.loads((tmp_path / "base" / "config.json").read_text("utf-8"))["dtype"] == "bfloat16"


@pytest.mark.parametrize("kind", ["albert", "mpnet", "deberta-v2"])
def test_a_family_that_cannot_be_packed_is_refused_before_anything_is_written(kind: str, tmp_path: Path) -> None:
    toy_encoder.KINDS[kind] = {}
    try:
        folder = toy_encoder.write_folder(tmp_path / "base", kind)
    finally:
        del toy_encoder.KINDS[kind]
    with pytest.raises(ModelError, match=r"head of a .* is not known here"):
        import_encoder(resolve_base(str(folder)), tmp_path / "out", Log(quiet=True))
    assert not list((tmp_path / "out").iterdir())


def test_a_model_that_writes_is_no_base_for_labels(tmp_path: Path) -> None:
    folder = toy_model.write_folder(tmp_path / "llama")
    with pytest.raises(ModelError, match='a "llama" model is no encoder'):
        import_encoder(resolve_base(str(folder)), tmp_path / "out", Log(quiet=True))
    with pytest.raises(ModelError, match="a GGUF file holds a model that writes"):
        import_encoder(resolve_base("smollm2-135m-instruct"), tmp_path / "out", Log(quiet=True))


def test_weights_that_are_missing_are_named(tmp_path: Path) -> None:
    folder = toy_encoder.write_folder(tmp_path / "base")
    settings = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps({**settings, "num_hidden_layers": 3}))
    with pytest.raises(ModelError, match=r"lacks .*layer\.2"):
        new_reader(folder, LABELS, dtype=torch.float32, seed=1)
