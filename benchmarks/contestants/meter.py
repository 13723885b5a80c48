"""What every contestant of `make bench-train` shares: the work it reads and the meter that it ticks after each step."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WARM_STEPS = 2  # kernels and memory are prepared in them; they are not counted


@dataclass(frozen=True)
class Work:
    """One work: `documents` are lists of token ids, `first_learned` says where the answer of each begins.

    Where documents are classified, `labels` has the label of each, and nothing is learned of their tokens.
    """

    documents: list[list[int]]
    first_learned: list[int]
    model: str
    method: str  # "full" or "lora"
    tokens_per_step: int
    learning_rate: float
    lora_rank: int
    labels: list[int] | None = None


def read_work() -> tuple[Work, dict[str, Any], Meter]:
    """The work, the setting and the meter that the command line names."""
    work = Work(**json.loads(Path(sys.argv[1]).read_text("utf-8")))
    return work, json.loads(sys.argv[2]), Meter(float(sys.argv[3]))


class Meter:
    """Counts non-padding tokens and CPU-seconds of whole steps until the budget is spent."""

    def __init__(self, budget_seconds: float) -> None:
        self.budget = budget_seconds
        self.steps = self.tokens = 0
        self.began = 0.0
        self.spent = 0.0
        self.losses: list[float] = []

    def tick(self, tokens: int, loss: float) -> bool:
        """After each step; True when enough was measured."""
        self.steps += 1
        self.losses.append(loss)
        now = time.process_time()
        if self.steps <= WARM_STEPS:
            self.began = now
            return False
        self.tokens += tokens
        self.spent = now - self.began
        return self.spent >= self.budget

    def report(self, **versions: str) -> None:
        """Prints the outcome as the last line of stdout."""
        outcome = {
            "tokens": self.tokens,
            "cpu_seconds": round(self.spent, 3),
            "steps": self.steps,
            "losses": [round(loss, 4) for loss in self.losses[:3] + self.losses[-1:]],
            "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "versions": versions,
        }
        print(json.dumps(outcome), flush=True)
        os._exit(0)  # some stacks take long to say goodbye


def batches_by_tokens(work: Work) -> list[list[int]]:
    """Indices of the documents of each step, about as many tokens in each, in the order of the work."""
    steps: list[list[int]] = [[]]
    size = 0
    for index, ids in enumerate(work.documents):
        if size + len(ids) > work.tokens_per_step and steps[-1]:
            steps.append([])
            size = 0
        steps[-1].append(index)
        size += len(ids)
    return steps
