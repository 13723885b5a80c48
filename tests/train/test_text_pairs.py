"""Pairs of texts: a padded batch has plain transformers' own loss, row by row, and the target alone is learned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from toy_restoring import END, t5
from transformers import BartConfig, BartForConditionalGeneration, PreTrainedModel

from setsail.tasks.pairs import parted
from setsail.tokens.pack import Example
from setsail.tokens.pad import PairBatch, pad_pairs, similar
from setsail.train.loop import train
from setsail.train.optimizer import adamw
from setsail.train.spans import SPANS


def bart(dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    torch.manual_seed(7)
    sizes: dict[str, Any] = {
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_ffn_dim": 48,
        "decoder_ffn_dim": 48,
    }
    heads: dict[str, Any] = {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "dropout": 0.0}
    ids: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": END, "decoder_start_token_id": END}
    model: Any = BartForConditionalGeneration(BartConfig(vocab_size=61, **sizes, **heads, **ids))
    return model.to(dtype).eval()


def pairs(num: int) -> list[Example]:
    """Sources and targets of many lengths; each target repeats the beginning of its source."""
    draw = np.random.default_rng(3)
    examples = []
    for number in range(num):
        source = draw.integers(11, 61, size=draw.integers(1, 12)).tolist()
        target = source[: draw.integers(1, 6)]
        ids = np.array([*source, END, *target, END], dtype=np.int32)
        mask = np.arange(len(ids)) > len(source)
        examples.append(Example(ids, mask, f"row {number}"))
    return examples


def batch_of(examples: list[Example]) -> PairBatch:
    return pad_pairs([parted(each) for each in examples], [each.row_id for each in examples])


@torch.no_grad()
def plain_nats(model: PreTrainedModel, example: Example) -> float:
    """Transformers' own loss of one pair, alone, without padding."""
    source, target = parted(example)
    labels = torch.tensor(target)[None]
    return model(input_ids=torch.tensor(source)[None], labels=labels).loss.item() * len(target)


@pytest.mark.parametrize("make", [t5, bart])
def test_a_batch_of_pairs_has_the_loss_of_plain_transformers_row_by_row(make) -> None:
    model, examples = make(torch.float64), pairs(9)
    rows = SPANS.row_nats(model, batch_of(examples))
    np.testing.assert_allclose([nats for nats, _ in rows], [plain_nats(model, each) for each in examples], rtol=1e-6)
    assert [count for _, count in rows] == [int(each.loss_mask.sum()) for each in examples]
    total, count = SPANS.loss(model, batch_of(examples))
    assert total.item() == pytest.approx(sum(nats for nats, _ in rows)) and count == sum(n for _, n in rows)


def test_the_target_alone_is_learned_and_its_end_with_it() -> None:
    example = pairs(1)[0]
    source, target = parted(example)
    assert [*source, *target] == example.ids.tolist() and source[-1] == target[-1] == END
    batch = batch_of([example])
    assert batch.targets[0].tolist() == target.tolist() and batch.input_ids[0].tolist() == source.tolist()
    assert batch.num_supervised == example.num_supervised == len(target)


def test_it_learns_to_repeat_what_it_reads() -> None:
    examples, model = pairs(60), t5()
    bins = similar([len(each.ids) for each in examples], 128, "x")
    steps = [[batch_of([examples[index] for index in members])] for members in bins * 12]
    before = sum(plain_nats(model, each) for each in examples)
    settings = {"learning_rate": lambda index: 0.01, "clip_norm": 1.0, "seed": 1, "objective": SPANS}
    for _ in train(model, steps, optimizer=adamw(model), **settings):
        pass
    assert sum(plain_nats(model, each) for each in examples) < 0.75 * before
