"""The doctor: what this machine can do, and what is broken, each with what to type about it."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path

import psutil

from setsail.base.device import compute_dtype, device
from setsail.base.errors import EXIT_DONE, EXIT_USER_INPUT, ModelError
from setsail.base.log import size
from setsail.base.machine import describe, versions
from setsail.models.kernels.library import why_not
from setsail.models.packaged import PACKAGED, locate

_DISK_BYTES = 4 * 2**30
_MEMORY_BYTES = 3 * 2**30


@dataclass(frozen=True)
class Finding:
    """One examined thing: how it is, and what to do where it is not well."""

    what: str
    well: bool
    words: str
    hint: str = ""


def examine(*, as_json: bool = False) -> int:
    """Prints every finding; the exit code is 2 when something is broken."""
    findings = [check() for check in CHECKS]
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], ensure_ascii=False, indent=1))
    else:
        for finding in findings:
            print(f"{'✓' if finding.well else '✗'} {finding.what:<12} {finding.words}")
            if not finding.well:
                print(f"  {'':<12} {finding.hint}")
    return EXIT_DONE if all(finding.well for finding in findings) else EXIT_USER_INPUT


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", sys.version_info >= (3, 11), found, "install Python 3.11 or newer")


def _machine() -> Finding:
    free = psutil.virtual_memory().available
    words = f"{describe()}; {size(free)} of memory free"
    return Finding(
        "machine", free >= _MEMORY_BYTES, words, f"free some memory: {size(_MEMORY_BYTES)} is a good measure"
    )


def _arithmetic() -> Finding:
    fast = "bfloat16" in str(compute_dtype())
    words = f"{device()}, computing in {str(compute_dtype()).removeprefix('torch.')}"
    return Finding("arithmetic", True, words + ("" if fast else " (no bfloat16 in hardware: about twice as slow)"))


def _kernels() -> Finding:
    reason = why_not()
    if reason is None:
        return Finding("kernels", True, "compiled for this processor")
    return Finding("kernels", True, f"none ({reason}): training computes with plain torch, slower")


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free
    return Finding("disk", free >= _DISK_BYTES, f"{size(free)} free here", f"a run wants about {size(_DISK_BYTES)}")


def _writable() -> Finding:
    try:
        with tempfile.TemporaryFile(dir=Path.cwd()):
            return Finding("folder", True, "this folder can be written")
    except OSError as error:
        return Finding("folder", False, f"this folder cannot be written: {error.strerror}", "work in a folder of yours")


def _torchvision() -> Finding:
    if find_spec("torchvision") is None:
        return Finding("torchvision", True, "not installed, not needed")
    try:
        import_module("torchvision")
    except Exception as error:  # whatever a broken binary raises is the finding
        words = f"it is installed and broken ({type(error).__name__}), which breaks transformers too"
        return Finding("torchvision", False, words, f"{sys.executable} -m pip uninstall torchvision")
    return Finding("torchvision", True, "installed and working")


def _packages() -> Finding:
    found = "  ".join(f"{name} {version}" for name, version in versions().items() if name != "python")
    missing = [name for name in ("torch", "transformers", "gguf", "tokenizers") if name not in versions()]
    return Finding("packages", not missing, found, f"pip install {' '.join(missing)}")


def _engines() -> Finding:
    known = {"openvino": "openvino_genai", "llamacpp": "xllamacpp", "torch": "torch"}
    there = [name for name, module in known.items() if find_spec(module) is not None]
    beside = ["vllm (in an environment of its own)"] if shutil.which("vllm") else []
    return Finding("engines", len(there) > 1, ", ".join([*there, *beside]), "pip install openvino-genai xllamacpp")


def _bases() -> Finding:
    there, lacking, hints = [], [], []
    for name in PACKAGED:
        try:
            locate(name)
            there.append(name)
        except ModelError as error:
            lacking.append(f"{name} is not installed")
            hints.append(error.hint or error.message)
    return Finding("base models", bool(there), ", ".join([*there, *lacking]), "; ".join(hints))


def _hub() -> Finding:
    home, version = os.path.expanduser("~/.cache/huggingface"), metadata.version("huggingface-hub")
    return Finding("hub", True, f"huggingface-hub {version}; bases by org/name are kept in HF_HOME (else {home})")


CHECKS: tuple[Callable[[], Finding], ...] = (
    _python,
    _machine,
    _arithmetic,
    _kernels,
    _disk,
    _writable,
    _packages,
    _torchvision,
    _engines,
    _bases,
    _hub,
)
