"""Encoders of every family as ONNX say what the plain reader says, alone and padded, and cut at the context."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from models import toy_encoder
from transformers import PreTrainedTokenizerFast

from setsail.base.errors import ModelError
from setsail.base.target import Head
from setsail.compress.onnx_export import export_f32, quantise
from setsail.models import words
from setsail.models.embedder import load_embedder
from setsail.models.load import save_model
from setsail.models.onnx_model import OnnxEmbedder, OnnxSettings, Says, load_onnx
from setsail.models.plain_reader import load_plain
from setsail.models.reader import limit_length, new_reader
from setsail.models.words import build_words

CONTEXT = 40
TEXTS = ["the parcel came late", "broken", "请 快 递 坏 了 !", "password " * 100, "wrong sum of my order 12 34"]


def reader_folder(folder: Path, kind: str, head: Head) -> Path:
    """A saved reader with a lively head."""
    if kind in ("lstm", "bag"):
        words.register()
        save_model(build_words(kind, 40_000, vocabulary=100, context=64, pad=0, seed=1), folder / "base")
    else:
        toy_encoder.write_folder(folder / "base", kind)
    names = ("a", "b") if head == "span" else ("a", "b", "c")
    problem = "single_label_classification" if head == "document" else None
    model = new_reader(folder / "base", names, dtype=torch.float32, seed=1, head=head, problem=problem)
    save_model(toy_encoder.lively(model), folder / "model")
    named = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    PreTrainedTokenizerFast(tokenizer_object=toy_encoder.tokenizer(), **named).save_pretrained(folder / "model")
    limit_length(folder / "model", CONTEXT)
    return folder / "model"


def exported(folder: Path, *, says: Says = "logits", head: Head = "document", labels: tuple[str, ...] = ()) -> None:
    inputs = export_f32(folder, folder / "model-f32.onnx", says=says, head=head, context=CONTEXT)
    quantise(folder / "model-f32.onnx", folder / "model-int8.onnx")
    OnnxSettings("classify", says, head, labels, CONTEXT, inputs, 0, 1, ("f32", "int8")).write(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "head"),
    [
        *((kind, "document") for kind in (*toy_encoder.KINDS, "lstm", "bag")),
        *((kind, "token") for kind in ("bert", "modernbert", "lstm", "bag")),
        *((kind, "span") for kind in ("bert", "distilbert")),
    ],
)
def test_a_file_says_what_the_folder_says(kind: str, head: Head, tmp_path: Path) -> None:
    folder = reader_folder(tmp_path, kind, head)
    plain = load_plain(folder, head)
    exported(folder, head=head, labels=plain.labels)
    model = load_onnx(folder)
    for at_once in (1, 3):
        for ours, theirs in zip(
            plain.logits(TEXTS, at_once=at_once), model.logits(TEXTS, at_once=at_once), strict=True
        ):
            assert ours.shape == theirs.shape
            np.testing.assert_allclose(theirs, ours, atol=2e-5)
    for text in TEXTS:
        assert plain.encoding(text).ids == model.encoding(text).ids
    rounded = load_onnx(folder, "int8")
    far = [np.abs(a - b).max() for a, b in zip(rounded.logits(TEXTS), model.logits(TEXTS), strict=True)]
    assert 0 < max(far) < 0.5
    together = rounded.logits(TEXTS, at_once=5)
    assert all(np.array_equal(a, b) for a, b in zip(together, rounded.logits(TEXTS, at_once=1), strict=True))


@pytest.mark.slow
def test_two_texts_keep_their_types_and_the_second_is_cut(tmp_path: Path) -> None:
    folder = reader_folder(tmp_path, "bert", "document")
    plain = load_plain(folder)
    exported(folder, labels=plain.labels)
    model = load_onnx(folder)
    pairs = [("the box", "came late"), ("login", "app crash " * 60)]
    for ours, theirs in zip(plain.logits(pairs, at_once=2), model.logits(pairs, at_once=2), strict=True):
        np.testing.assert_allclose(theirs, ours, atol=2e-5)


@pytest.mark.slow
def test_vectors_are_pooled_in_the_file(tmp_path: Path) -> None:
    folder = reader_folder(tmp_path, "bert", "document")
    exported(folder, says="vectors")
    ours = load_embedder(folder, context=CONTEXT).vectors(TEXTS, at_once=2)
    theirs = OnnxEmbedder(load_onnx(folder)).vectors(TEXTS, at_once=2)
    np.testing.assert_allclose(theirs, ours, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(theirs, axis=1), 1, atol=1e-6)


def test_a_damaged_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no settings of an exported encoder"):
        load_onnx(tmp_path)
    OnnxSettings("classify", "logits", "document", ("a",), 8, ("input_ids",), 0, 1, ("f32",)).write(tmp_path)
    with pytest.raises(ModelError, match=r"nothing was exported as int8[\s\S]*there are f32"):
        load_onnx(tmp_path, "int8")
    (tmp_path / "model-f32.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match="onnxruntime cannot load it"):
        load_onnx(tmp_path)
    raw = (tmp_path / "onnx.json").read_text().replace('"format": 1', '"format": 99')
    (tmp_path / "onnx.json").write_text(raw)
    with pytest.raises(ModelError, match="written by a newer setsail"):
        load_onnx(tmp_path)
