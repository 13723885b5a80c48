"""Which device computes, in which number format, with how many threads. The only file of this room that needs torch."""

from __future__ import annotations

import random

import numpy as np
import psutil
import torch

from setsail.base.environment import read_environment
from setsail.base.errors import SystemRefusal
from setsail.base.machine import num_cores


def device() -> torch.device:
    """The CUDA device of this process when there is one (the first, of a process alone), the CPU otherwise.

    Raises:
        SystemRefusal: more processes on this machine than CUDA devices.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    process, count = read_environment().process, torch.cuda.device_count()
    if process.local_rank >= count:
        raise SystemRefusal(
            f"{process.local_size} processes on a machine with {count} GPUs: each needs one of its own",
            hint=f"torchrun --nproc-per-node {count} …",
        )
    return torch.device("cuda", process.local_rank)


def compute_dtype() -> torch.dtype:
    """bfloat16 where the hardware multiplies it, float32 elsewhere (bf16 without hardware is many times slower)."""
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    capabilities = torch.backends.cpu.get_cpu_capability()
    fast = "AVX512" in capabilities and torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if fast else torch.float32


def free_memory_bytes() -> int:
    """The memory that is free where this process computes: of its GPU, or of the machine."""
    where = device()
    if where.type == "cuda":
        return torch.cuda.mem_get_info(where)[0]
    return psutil.virtual_memory().available


def move(model: torch.nn.Module, where: torch.device) -> None:
    """Moves a model's weights in place."""
    model.to(where)


def prepare_device(seed: int) -> None:
    """This process's share of the cores as threads, its GPU as the current one, all random states from one seed."""
    torch.set_num_threads(max(1, num_cores() // read_environment().process.local_size))
    if torch.cuda.is_available():
        torch.cuda.set_device(device())
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
