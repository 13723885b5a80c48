"""Setsail's loop on the text, saved as a Hugging Face folder and examined through plain transformers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from itertools import count
from pathlib import Path

import torch
from learning import BLOCK, Text, examine, read_text, report
from transformers import AutoModelForCausalLM

from setsail.base.device import prepare_device
from setsail.models.fused import fuse, unfuse
from setsail.models.load import load_model, save_model
from setsail.tokens.pack import Batch, Example, epoch_bins, make_batch
from setsail.train.allocator import keep_freed_memory
from setsail.train.loop import train
from setsail.train.optimizer import build_optimizer


def main() -> None:
    text, setting, budget, seed = read_text()
    prepare_device(seed)
    torch.set_num_threads(1)
    keep_freed_memory()
    model = load_model(text.model, dtype=torch.bfloat16)
    model.requires_grad_(True)
    fuse(model)
    optimizer = build_optimizer(model, setting["optimizer"], weight_decay=setting["decay"])
    steps = packed(text, setting["rows"] * BLOCK, seed)
    tokens = 0

    def rate(step: int) -> float:
        return setting["peak"] * budget.rate(setting["shape"])

    for step in train(model, steps, optimizer=optimizer, learning_rate=rate, clip_norm=1.0, seed=seed):
        tokens += step.num_tokens
        if budget.tick():
            break
    unfuse(model)
    with tempfile.TemporaryDirectory() as folder:
        save_model(model, Path(folder))
        plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        nats = examine(lambda ids: plain(input_ids=ids).logits, text.exam)
    report(budget, nats, tokens, setsail=version("setsail"), torch=torch.__version__)


def packed(text: Text, capacity: int, seed: int) -> Iterator[list[Batch]]:
    """Steps of one packed row, documents cut into windows that overlap by the token which the first predicts."""
    windows = [
        document[start : start + BLOCK]
        for document in text.documents
        for start in range(0, len(document) - 1, BLOCK - 1)
    ]
    examples = [Example(ids.astype("int32"), ids >= 0, str(index)) for index, ids in enumerate(windows)]
    for epoch in count():
        for members in epoch_bins(examples, capacity, seed, epoch):
            yield [make_batch([examples[index] for index in members])]


if __name__ == "__main__":
    main()
