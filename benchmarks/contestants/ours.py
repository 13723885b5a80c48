"""Setsail's own loop, as the training stage calls it."""

from __future__ import annotations

from importlib.metadata import version
from itertools import count
from pathlib import Path

import numpy as np
import torch
from meter import Work, read_work

from setsail.base.recipe import Lora
from setsail.models.fused import fuse
from setsail.models.load import load_model
from setsail.models.lora import add_lora
from setsail.models.reader import new_reader
from setsail.tokens.pack import Example, epoch_bins, make_batch
from setsail.tokens.read import read_side_by_side
from setsail.train.allocator import keep_freed_memory
from setsail.train.loop import train
from setsail.train.loss import NEXT_TOKEN
from setsail.train.optimizer import adamw
from setsail.train.reading import OBJECTIVES


def main() -> None:
    work, setting, meter = read_work()
    torch.set_num_threads(1)
    keep_freed_memory()
    if work.labels is None:
        objective, model = NEXT_TOKEN, load_model(Path(work.model), dtype=torch.bfloat16)
    else:
        objective = OBJECTIVES["one_label"]
        model = new_reader(Path(work.model), names(work), dtype=torch.bfloat16, seed=1)
    if work.method == "lora":
        add_lora(model, Lora(rank=work.lora_rank, alpha=2.0 * work.lora_rank), seed=1)
    else:
        model.requires_grad_(True)
    fuse(model)
    steps = packed(work, setting["micro_batch"])
    settings = {"learning_rate": lambda step: work.learning_rate, "clip_norm": 1.0, "seed": 1, "objective": objective}
    for step in train(model, steps, optimizer=adamw(model), **settings):
        if meter.tick(step.num_tokens, step.loss_nats):
            break
    meter.report(setsail=version("setsail"), torch=torch.__version__)


def names(work: Work) -> list[str]:
    """The labels by name, in their order."""
    return [str(label) for label in sorted(set(work.labels or []))]


def packed(work: Work, capacity: int):
    """Steps of packed micro-batches without end."""
    labels = work.labels or [""] * len(work.documents)
    examples = [
        Example(np.array(ids, dtype=np.int32), np.arange(len(ids)) >= first, str(index), label=str(label))
        for index, (ids, first, label) in enumerate(zip(work.documents, work.first_learned, labels, strict=True))
    ]
    order = {name: index for index, name in enumerate(names(work))}
    per_step = max(1, work.tokens_per_step // capacity)
    for epoch in count():
        bins = epoch_bins(examples, capacity, 1, epoch)
        chosen = [[examples[index] for index in members] for members in bins]
        batches = [labelled(each, order) if order else make_batch(each) for each in chosen]
        for start in range(0, len(batches) - per_step + 1, per_step):
            yield batches[start : start + per_step]


def labelled(examples: list[Example], order: dict[str, int]):
    """The examples as one row, with the place of each label."""
    targets = np.array([order[each.label] for each in examples], dtype=np.int64)
    return read_side_by_side(examples, targets, num_supervised=len(examples))


if __name__ == "__main__":
    main()
