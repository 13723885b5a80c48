"""What every contestant of `make bench-ttl` shares: the text as ids, a budget of CPU-seconds, and the same exam."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

WARM_STEPS = 2  # compilers and memory are prepared in them; they are not counted
WARMUP = 0.05  # of the budget, in which the rate climbs
BLOCK = 256


@dataclass(frozen=True)
class Text:
    """Documents of ids to learn from, blocks [N, BLOCK] to be examined on, and the folder of the model's shape."""

    documents: list[np.ndarray]
    exam: np.ndarray
    model: Path

    def blocks(self, length: int, rows: int, seed: int) -> Iterator[Tensor]:
        """Batches [rows, length] cut from the joined documents, in a new order in each epoch, without end."""
        stream = np.concatenate(self.documents)
        cut = stream[: len(stream) // length * length].reshape(-1, length).astype(np.int64)
        draw = np.random.default_rng(seed)
        while True:
            order = draw.permutation(len(cut))
            for start in range(0, len(order) - rows + 1, rows):
                yield torch.from_numpy(cut[order[start : start + rows]])


def read_text() -> tuple[Text, dict[str, Any], Budget, int]:
    """What the command line names: a folder, a setting, CPU-seconds and a seed."""
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    joined, bounds = np.load(folder / "ids.npy"), np.load(folder / "bounds.npy")
    documents = [joined[start:end] for start, end in pairwise(bounds)]
    text = Text(documents, np.load(folder / "exam.npy"), folder / "model")
    return text, json.loads(sys.argv[2]), Budget(float(sys.argv[3])), int(sys.argv[4])


class Budget:
    """CPU-seconds of this process. A step is allowed as long as some are left; the last may end a little beyond."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.steps = 0
        self.began = math.inf

    def tick(self) -> bool:
        """After each step: whether the budget is spent."""
        self.steps += 1
        if self.steps == WARM_STEPS:
            self.began = time.process_time()
        return self.spent >= self.seconds

    @property
    def spent(self) -> float:
        return max(0.0, time.process_time() - self.began)

    def rate(self, shape: str) -> float:
        """What part of the peak rate is due now: a climb, then "cosine", "linear" or "wsd" down to nothing."""
        done = min(1.0, self.spent / self.seconds)
        if done < WARMUP:
            return max(0.02, done / WARMUP)
        left = (1.0 - done) / (1.0 - WARMUP)
        if shape == "cosine":
            return (1.0 - math.cos(math.pi * left)) / 2.0
        return left if shape == "linear" else min(1.0, 1.0 - math.sqrt(max(0.0, 1.0 - left / 0.4)))


@torch.no_grad()
def examine(logits_of: Callable[[Tensor], Tensor], exam: np.ndarray) -> float:
    """Mean nats for each token but the first of each block; `logits_of` maps ids [B, T] to float32 logits [B, T, V]."""
    nats, count = 0.0, 0
    for start in range(0, len(exam), 16):
        ids = torch.from_numpy(exam[start : start + 16].astype(np.int64))
        logits = logits_of(ids)[:, :-1].float().flatten(0, 1)
        nats += cross_entropy(logits, ids[:, 1:].flatten(), reduction="sum").item()
        count += ids[:, 1:].numel()
    return nats / count


def report(budget: Budget, nats: float, tokens: int, **versions: str) -> None:
    """Prints the outcome as the last line of stdout. Call after the exam, with the tokens that were learned from."""
    outcome = {"nats": round(nats, 5), "steps": budget.steps, "tokens": tokens, "versions": versions}
    print(json.dumps(outcome), flush=True)
    os._exit(0)  # some stacks take long to say goodbye
