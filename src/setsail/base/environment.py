"""The one place where environment variables are read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Environment:
    """What the environment says; each name keeps the meaning that its owner gave it."""

    hf_offline: bool
    api_key: str | None
    cache: Path
    interactive_allowed: bool
    kernels_allowed: bool
    npm_registry: str


def read_environment() -> Environment:
    """The settings of this process, as they are now."""
    cache = os.environ.get("SETSAIL_CACHE") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "setsail")
    return Environment(
        hf_offline=os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0", "false", "False"),
        api_key=os.environ.get("SETSAIL_API_KEY") or None,
        cache=Path(cache).expanduser(),
        interactive_allowed=not os.environ.get("CI"),
        kernels_allowed=os.environ.get("SETSAIL_KERNELS", "") not in ("off", "0", "no"),
        npm_registry=os.environ.get("NPM_CONFIG_REGISTRY") or "https://registry.npmjs.org",
    )


def let_threads_sleep() -> None:
    """Makes waiting compute threads sleep instead of spin, unless the user chose otherwise; before torch is imported.

    Spinning threads made training three times as slow on two cores that others used as well (docs/log.md).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def without_key() -> dict[str, str]:
    """This process's environment for a child that must not need an API key."""
    return {name: value for name, value in os.environ.items() if name != "SETSAIL_API_KEY"}
