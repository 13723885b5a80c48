"""The one place where environment variables are read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """Which of several processes this one is, as torchrun and its like tell it; by default the only one.

    `local_rank` and `local_size` count the processes of this machine alone.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1


@dataclass(frozen=True)
class Environment:
    """What the environment says; each name keeps the meaning that its owner gave it."""

    hf_offline: bool
    api_key: str | None
    answers_key: str | None
    editor: str | None
    cache: Path
    interactive_allowed: bool
    kernels_allowed: bool
    npm_registry: str | None
    process: Process


def read_environment() -> Environment:
    """The settings of this process, as they are now."""
    cache = os.environ.get("SETSAIL_CACHE") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "setsail")
    return Environment(
        hf_offline=os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0", "false", "False"),
        api_key=os.environ.get("SETSAIL_API_KEY") or None,
        answers_key=os.environ.get("SETSAIL_ANSWERS_KEY") or None,
        editor=os.environ.get("VISUAL") or os.environ.get("EDITOR") or None,
        cache=Path(cache).expanduser(),
        interactive_allowed=not os.environ.get("CI"),
        kernels_allowed=os.environ.get("SETSAIL_KERNELS", "") not in ("off", "0", "no"),
        npm_registry=os.environ.get("NPM_CONFIG_REGISTRY") or None,
        process=_read_process(),
    )


def _read_process() -> Process:
    """RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE; one process where the first two are not both set."""
    rank, size = os.environ.get("RANK", ""), os.environ.get("WORLD_SIZE", "")
    if not (rank.isdecimal() and size.isdecimal()) or int(size) < 2:
        return Process()
    local_rank, local_size = (os.environ.get(name, "") for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE"))
    return Process(int(rank), int(size), int(local_rank or rank), int(local_size or size))


def let_threads_sleep() -> None:
    """Makes waiting compute threads sleep instead of spin, unless the user chose otherwise; before torch is imported.

    Spinning threads made training three times as slow on two cores that others used as well (docs/log.md).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def keep_torch_from_tracing() -> None:
    """Spares the reader torch's C++ traces of lost connections, told in our words; before torch is imported."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


def without_key() -> dict[str, str]:
    """This process's environment for a child that must need no key of ours."""
    ours = ("SETSAIL_API_KEY", "SETSAIL_ANSWERS_KEY")
    return {name: value for name, value in os.environ.items() if name not in ours}


def secret_of(name: str) -> str:
    """What a variable that a recipe names holds, or nothing; the value goes nowhere else."""
    return os.environ.get(name, "")
