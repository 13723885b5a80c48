"""A bag of words and an LSTM: the same alone, padded and packed; saved and loaded; no wider than was asked."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoModelForSequenceClassification, AutoModelForTokenClassification

from setsail.base.errors import RecipeError
from setsail.base.target import Head
from setsail.models import words
from setsail.models.load import save_model
from setsail.models.reader import new_reader, packed_logits, read_encoder_config
from setsail.models.words import build_words, words_config
from setsail.train.reading import check_packed

LENGTHS = (6, 1, 9, 3)


def folder(tmp_path: Path, kind: str) -> Path:
    words.register()
    made = build_words(kind, 40_000, vocabulary=500, context=64, pad=0, seed=1)
    save_model(made, tmp_path / kind)
    return tmp_path / kind


@pytest.mark.parametrize("kind", ["bag", "lstm"])
@pytest.mark.parametrize("head", ["document", "token"])
def test_a_packed_row_says_what_each_text_says_alone(kind: str, head: Head, tmp_path: Path) -> None:
    model = new_reader(folder(tmp_path, kind), ("a", "b", "c"), dtype=torch.float32, seed=1, head=head)
    check_packed(model)
    draw = torch.Generator().manual_seed(0)
    texts = [torch.randint(1, 500, (length,), generator=draw) for length in LENGTHS]
    starts = torch.tensor([0, 6, 7, 16, 19], dtype=torch.int32)
    with torch.no_grad():
        alone = torch.cat([model(text[None]).logits.reshape(-1, 3) for text in texts])
        torch.testing.assert_close(packed_logits(model, torch.cat(texts), starts), alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["bag", "lstm"])
def test_word_order_is_nothing_to_a_bag_and_something_to_an_lstm(kind: str, tmp_path: Path) -> None:
    model = new_reader(folder(tmp_path, kind), ("a", "b"), dtype=torch.float32, seed=1)
    with torch.no_grad():
        there, back = (model(torch.tensor([order])).logits for order in ([5, 6, 7, 8], [8, 7, 6, 5]))
    assert torch.allclose(there, back, atol=1e-6) == (kind == "bag")


@pytest.mark.parametrize("kind", ["bag", "lstm"])
def test_what_is_saved_loads_by_the_auto_classes(kind: str, tmp_path: Path) -> None:
    base = folder(tmp_path, kind)
    for auto in (AutoModelForSequenceClassification, AutoModelForTokenClassification):
        model = auto.from_config(read_encoder_config(base)).eval()
        save_model(model, tmp_path / "out")
        again = auto.from_pretrained(tmp_path / "out")
        ids = torch.tensor([[3, 4, 5]])
        with torch.no_grad():
            torch.testing.assert_close(again(ids).logits.float(), model(ids).logits.float())
    assert type(AutoModel.from_pretrained(base)).__name__ == "WordsModel"


@pytest.mark.parametrize("kind", ["bag", "lstm"])
def test_it_is_the_widest_that_fits(kind: str) -> None:
    config = words_config(kind, 100_000, vocabulary=1000, context=64)
    wider = words.WordsConfig(1000, config.hidden_size + 16, config.hidden_size + 16, config.num_hidden_layers, 64)
    assert words.num_weights(config) <= 100_000 < words.num_weights(wider)


def test_too_many_words_for_so_few_weights_are_refused() -> None:
    with pytest.raises(RecipeError, match="8,192 words leave nothing of 1,000 weights"):
        words_config("bag", 1000, vocabulary=8192, context=64)
