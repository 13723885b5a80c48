"""What this machine and this installation are: names and versions, without importing any of the packages."""

from __future__ import annotations

import os
import platform
from functools import cache
from importlib import metadata
from pathlib import Path

import psutil

_PACKAGES = (
    "setsail",
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "gguf",
    "openvino-genai",
    "xllamacpp",
    "numpy",
    "onnx",
    "onnxruntime",
)


@cache
def versions() -> dict[str, str]:
    """Package names to installed versions, for manifests and reports."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def num_cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int:
    """The memory of this machine, in bytes."""
    return psutil.virtual_memory().total


def processor_name() -> str:
    """The processor's name as the system tells it."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def processor_flags() -> str:
    """What decides whether code compiled for this processor runs on another: its name and its features."""
    return f"{processor_name()} {_cpuinfo('flags') or _cpuinfo('Features')}"


def _cpuinfo(key: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "")


def describe() -> str:
    """This machine in one line."""
    system = f"{platform.system()} {platform.machine()}"
    cores = "1 core" if num_cores() == 1 else f"{num_cores()} cores"
    return f"{processor_name()}, {cores}, {memory_bytes() / 2**30:.0f} GiB, {system}"
