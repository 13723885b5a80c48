from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from setsail.base.errors import ModelError
from setsail.models.load import load_model
from setsail.models.resize import extend_embeddings

OLD, PIECES = 64, {64: (3, 4), 65: (3, 4, 5)}


def small_model(tied: bool) -> LlamaForCausalLM:
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=OLD,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        tie_word_embeddings=tied,
    )
    return LlamaForCausalLM(config).eval()


@pytest.mark.parametrize("tied", [True, False])
@torch.no_grad()
def test_old_texts_have_the_old_logits_and_new_rows_are_means(tied: bool, tmp_path: Path) -> None:
    model, ids = small_model(tied), torch.tensor([[1, 2, 3, 4, 5, 6]])
    before = model(ids).logits
    extend_embeddings(model, PIECES)
    after = model(ids).logits
    assert after.shape[-1] == OLD + 2 and model.config.vocab_size == OLD + 2
    assert torch.equal(after[..., :OLD], before)
    torch.testing.assert_close(after[..., 64], before[..., [3, 4]].mean(-1), atol=1e-5, rtol=1e-5)
    embedding = model.get_input_embeddings().weight
    assert isinstance(embedding, torch.Tensor)
    torch.testing.assert_close(embedding[65], embedding[[3, 4, 5]].mean(0))
    model.save_pretrained(tmp_path)
    again = load_model(tmp_path, dtype=torch.float32)
    torch.testing.assert_close(again(ids).logits, after, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_rows_that_only_filled_up_the_matrix_are_used(tmp_path: Path) -> None:
    model = small_model(tied=True)
    extend_embeddings(model, {60: (1, 2)})
    assert len(model.get_input_embeddings().weight) == OLD  # pyright: ignore[reportArgumentType]


def test_pieces_that_the_model_does_not_have_are_refused() -> None:
    with pytest.raises(ModelError, match="made of token 99, the model has 64"):
        extend_embeddings(small_model(tied=True), {64: (1, 99)})


@torch.no_grad()
def test_the_loss_on_new_tokens_begins_near_the_old_one() -> None:
    model = small_model(tied=True)
    old_ids = torch.tensor([[1, 3, 4, 2, 3, 4, 5, 6]])
    old = model(old_ids, labels=old_ids).loss * (old_ids.shape[1] - 1)
    extend_embeddings(model, PIECES)
    new_ids = torch.tensor([[1, 64, 2, 65, 6]])
    new = model(new_ids, labels=new_ids).loss * (new_ids.shape[1] - 1)
    # In nats for the whole text; two more words in the vocabulary, three steps fewer.
    assert new < old and math.isfinite(new)
