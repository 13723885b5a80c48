"""Learning rates as pure functions of the step, so that a resumed run continues on the same curve."""

from __future__ import annotations

import math
from collections.abc import Callable

SHAPES: dict[str, Callable[[float], float]] = {  # what is left of the peak when a fraction of the way is done
    "constant": lambda done: 1.0,
    "linear": lambda done: 1.0 - done,
    "cosine": lambda done: (1.0 + math.cos(math.pi * done)) / 2.0,
}

DEFAULT_LEARNING_RATES = {"lora": 1e-3, "full": 1e-4}


def default_learning_rate(method: str) -> float:
    """The peak learning rate where the recipe names none.

    Source: Schulman et al. 2025, "LoRA Without Regret" (Thinking Machines Lab): LoRA's best rate is ten times that of
    full fine-tuning, near 5e-4 · (2000 / hidden size)^0.775 for Llama shapes. That is 1.3e-3 at 576 and 3e-4 at 4096;
    we take 1e-3, since our bases are small, and a tenth of it for full fine-tuning.
    """
    return DEFAULT_LEARNING_RATES[method]


def schedule(name: str, *, peak: float, num_steps: int, warmup: float) -> Callable[[int], float]:
    """The learning rate of each step, counted from 1: a linear rise over a fraction of the steps, then the named shape.

    No step is wasted on a rate of zero: the first has the first part of the rise, the last is one part above the end.

    >>> rate = schedule("linear", peak=1.0, num_steps=8, warmup=0.25)
    >>> [round(rate(step), 2) for step in range(1, 9)]
    [0.5, 1.0, 1.0, 0.83, 0.67, 0.5, 0.33, 0.17]
    """
    shape = SHAPES[name]
    num_warmup = round(num_steps * warmup)

    def learning_rate(step: int) -> float:
        if step <= num_warmup:
            return peak * step / num_warmup
        return peak * shape((step - num_warmup - 1) / max(1, num_steps - num_warmup))

    return learning_rate
