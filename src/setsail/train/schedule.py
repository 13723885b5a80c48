"""Learning rates as pure functions of the step, so that a resumed run continues on the same curve."""

from __future__ import annotations

import math
from collections.abc import Callable

COOLDOWN = 0.2  # the last part of the way, where "wsd" comes down


def _wsd(done: float) -> float:
    """Warm-up, stable, decay: the peak until the last fifth of the way, then down by one minus the root.

    Source: Hu et al. 2024, "MiniCPM" (arXiv 2404.06395) for the three stages; Hägele et al. 2024, "Scaling Laws and
    Compute-Optimal Training Beyond Fixed Training Durations" (arXiv 2405.18392) for a fifth and for the root, which
    ended lower there than a straight line. We count the fifth after the warm-up.
    """
    return 1.0 - math.sqrt(max(0.0, done - (1.0 - COOLDOWN)) / COOLDOWN)


SHAPES: dict[str, Callable[[float], float]] = {  # what is left of the peak when a fraction of the way is done
    "constant": lambda done: 1.0,
    "linear": lambda done: 1.0 - done,
    "cosine": lambda done: (1.0 + math.cos(math.pi * done)) / 2.0,
    "wsd": _wsd,
}

DEFAULT_LEARNING_RATES = {
    "lora": {"adamw": 1e-3, "adam": 1e-3, "muon": 1e-3, "adagrad": 1e-2, "sgd": 5e-2},
    "full": {"adamw": 1e-4, "adam": 1e-4, "muon": 1e-4, "adagrad": 1e-3, "sgd": 2e-2},
    "new": {"adamw": 3e-3, "adam": 3e-3, "muon": 1e-2, "adagrad": 1e-2, "sgd": 1e-1},
}


OF_COMPARING = 1 / 20  # of the rate of answering, where answers are compared


def default_learning_rate(method: str, optimizer: str = "adamw", *, compares: bool = False) -> float:
    """The peak learning rate where the recipe names none; `method` is lora, full, or new for weights still random.

    Source: Schulman et al. 2025, "LoRA Without Regret" (Thinking Machines Lab): LoRA's best rate is ten times that of
    full fine-tuning, near 5e-4 · (2000 / hidden size)^0.775 for Llama shapes. That is 1.3e-3 at 576 and 3e-4 at 4096;
    we take 1e-3, since our bases are small, and a tenth of it for full fine-tuning. For new weights AdamW's and Muon's
    did best in probes on models of one to four million parameters. The others are derived: Adam and Muon take steps of
    AdamW's size (train/muon.py); Adagrad's shrink with the root of the steps done, which ten times the rate makes up
    for over some 400 steps, and 1e-2, torch's own, is the most that did well; SGD's step is to be as long over all
    weights as AdamW's, for our bases and a gradient of norm one.

    Where answers are compared (`compares`), a twentieth: AdamW's 5e-6 for all weights and 5e-5 for LoRA. Rafailov et
    al. 2023 (arXiv 2305.18290, appendix B) take 1e-6 for models of up to 7 billion parameters, Tunstall et al. 2023,
    "Zephyr" (arXiv 2310.16944), 5e-7 for 7 billion; the factor of five for our smaller bases is ours.
    """
    return DEFAULT_LEARNING_RATES[method][optimizer] * (OF_COMPARING if compares else 1.0)


def default_encoder_rate(hidden_size: int) -> float:
    """The peak learning rate of an encoder trained whole with AdamW: 5e-5 at 768 wide, 2e-4 at 384, 3e-5 at 1024.

    Source: Devlin et al. 2019, "BERT" (arXiv 1810.04805): 2e-5 to 5e-5 at 768 and 1024 wide; Turc et al. 2019,
    "Well-Read Students Learn Better" (arXiv 1908.08962): up to 3e-4 for smaller ones. The square between them is ours.
    """
    return 5e-5 * (768 / hidden_size) ** 2


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
