"""Which device computes, in which number format, with how many threads. The only file of this room that needs torch."""

from __future__ import annotations

import random

import numpy as np
import torch

from setsail.base.machine import num_cores


def device() -> torch.device:
    """The first CUDA device when there is one, the CPU otherwise."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


def compute_dtype() -> torch.dtype:
    """bfloat16 where the hardware multiplies it, float32 elsewhere (bf16 without hardware is many times slower)."""
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    capabilities = torch.backends.cpu.get_cpu_capability()
    fast = "AVX512" in capabilities and torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if fast else torch.float32


def move(model: torch.nn.Module, where: torch.device) -> None:
    """Moves a model's weights in place."""
    model.to(where)


def prepare_device(seed: int) -> None:
    """Threads for the cores that we may use, and every global random state from one seed."""
    torch.set_num_threads(num_cores())
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
