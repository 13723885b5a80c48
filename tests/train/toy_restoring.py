"""Toys that restore hidden text: a tiny ModernBERT, BERT and T5 of random weights, and batches of random documents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from toy_training import VOCABULARY, fingerprint_of
from transformers import (
    BertConfig,
    BertForMaskedLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)

from setsail.models.attention import register
from setsail.tokens.corrupt import cut_out, hide_spans, hide_tokens, mask_out
from setsail.tokens.pack import Example, pack_lengths, shuffled, side_by_side
from setsail.tokens.pad import pad_pairs, similar
from setsail.train.loop import Step
from setsail.train.masked import MASKED
from setsail.train.objective import Batch, Objective
from setsail.train.optimizer import build_optimizer
from setsail.train.resume import Course, restore, train_resumably
from setsail.train.schedule import schedule

MASK, END, SENTINELS = 1, 2, tuple(range(3, 11))
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}


def modernbert(dtype: torch.dtype = torch.float32, *, dropout: float = 0.0) -> PreTrainedModel:
    """With a window of three tokens to either side in its second layer."""
    marks: dict[str, Any] = {f"{role}_token_id": 0 for role in ("bos", "eos", "pad", "cls", "sep")}
    config = ModernBertConfig(
        **SIZES,
        **marks,
        local_attention=6,
        global_attn_every_n_layers=2,
        attention_dropout=dropout,
        mlp_dropout=dropout,
        attn_implementation="documents",
    )
    return _made(ModernBertForMaskedLM, config, dtype)


def bert(dtype: torch.dtype = torch.float32, *, dropout: float = 0.0) -> PreTrainedModel:
    config = BertConfig(
        **SIZES, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout, attn_implementation="documents"
    )
    return _made(BertForMaskedLM, config, dtype)


def t5(dtype: torch.dtype = torch.float32, *, dropout: float = 0.0, tied: bool = True) -> PreTrainedModel:
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "vocab_size": VOCABULARY}
    ids: dict[str, Any] = {"pad_token_id": 0, "eos_token_id": END, "decoder_start_token_id": 0}
    config = T5Config(**sizes, **ids, dropout_rate=dropout, feed_forward_proj="gated-gelu", tie_word_embeddings=tied)
    config._attn_implementation = "documents"
    return _made(T5ForConditionalGeneration, config, dtype)


def _made(model_class: Any, config: Any, dtype: torch.dtype) -> PreTrainedModel:
    register()
    torch.manual_seed(7)
    model = model_class(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape) * 0.1)  # the usual start is too flat to tell mistakes
    return model.to(dtype).eval()


def passages(count: int, seed: int = 0) -> list[Example]:
    """Documents of 3 to 20 tokens between a begin and an end that are never hidden."""
    draw = np.random.default_rng(seed)
    made = []
    for number in range(count):
        inside = draw.integers(11, VOCABULARY, size=draw.integers(3, 21))
        ids = np.array([0, *inside, END], dtype=np.int32)
        mask = np.array([False, *[True] * len(inside), False])
        made.append(Example(ids, mask, f"row{number}"))
    return made


def masked_batch(examples: Sequence[Example], draw: str = "a") -> Batch:
    hidden = [hide_tokens(example, 0.3, f"{draw}:{example.row_id}") for example in examples]
    return side_by_side([mask_out(each, MASK) for each in hidden], [each.row_id for each in hidden])


def span_batch(examples: Sequence[Example], draw: str = "a") -> Batch:
    hidden = [hide_spans(example, 0.3, 2.0, f"{draw}:{example.row_id}") for example in examples]
    return pad_pairs([cut_out(each, SENTINELS, END) for each in hidden], [each.row_id for each in hidden])


def steps_of(objective: Objective, epochs: int) -> list[list[Batch]]:
    """Every step of a run: packed or padded, hidden anew in each epoch."""
    examples = passages(24)
    arrange = pack_lengths if objective is MASKED else similar
    sizes = [len(example.ids) for example in examples]
    batch = masked_batch if objective is MASKED else span_batch
    batches = [
        batch([examples[index] for index in members], f"5:{epoch}")
        for epoch in range(epochs)
        for members in shuffled(arrange(sizes, 64, f"5:{epoch}"), f"5:{epoch}")
    ]
    return [batches[at : at + 2] for at in range(0, len(batches), 2)]


def course_of(objective: Objective, num_steps: int) -> Course:
    return Course(
        learning_rate=schedule("wsd", peak=0.01, num_steps=num_steps, warmup=0.2),
        clip_norm=1.0,
        seed=5,
        save_every=2,
        fingerprint={"objective": objective.name},
        objective=objective,
    )


def voyage(folder: Path, objective: Objective, steps: Sequence[Sequence[Batch]], stop_after: int) -> Iterator[Step]:
    """What a stage does, in bf16 with dropout: resume if there is something to resume, and train on."""
    model = (modernbert if objective is MASKED else t5)(torch.bfloat16, dropout=0.1)
    optimizer, course = build_optimizer(model, "muon", weight_decay=0.1), course_of(objective, len(steps))
    start = restore(optimizer, course, folder=folder, say=lambda text: None)
    for step in train_resumably(model, optimizer, steps[start:], course, folder=folder, start=start):
        yield step
        if step.index == stop_after:
            return
    (folder / "final.txt").write_text(fingerprint_of(model))
