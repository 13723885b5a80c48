"""Vectors of texts are the mean of the encoder's own states, of length one, whatever they are padded with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from models import toy_encoder
from setsail.base.log import Log
from setsail.models.embedder import load_embedder
from setsail.models.reader import import_encoder
from setsail.models.sources import resolve_base

TEXTS = ["the parcel came late", "refund", "快 递 坏 了 ! please help my order", "app", "refund"]


@pytest.mark.parametrize("kind", toy_encoder.KINDS)
def test_vectors_are_the_mean_of_each_texts_own_states(kind: str, tmp_path: Path) -> None:
    import_encoder(
        resolve_base(str(toy_encoder.write_folder(tmp_path / "toy", kind))), tmp_path / "base", Log(quiet=True)
    )
    found = load_embedder(tmp_path / "base", context=60).vectors(TEXTS)
    model = AutoModel.from_pretrained(tmp_path / "base", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
    for text, vector in zip(TEXTS, found, strict=True):
        ids = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            mean = model.eval()(**ids).last_hidden_state[0].mean(dim=0).numpy()
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-4)
    np.testing.assert_allclose(found[1], found[4], atol=1e-5)
    assert load_embedder(tmp_path / "base", context=60).vectors([]).shape == (0, found.shape[1])


def test_what_is_longer_than_the_context_loses_its_end(tmp_path: Path) -> None:
    import_encoder(resolve_base(str(toy_encoder.write_folder(tmp_path / "toy"))), tmp_path / "base", Log(quiet=True))
    embedder = load_embedder(tmp_path / "base", context=6)
    first, second = embedder.vectors(["the parcel came late broken box", "the parcel came late invoice wrong refund"])
    np.testing.assert_allclose(first, second, atol=1e-5)
