"""The kernels' shared library: compiled once for this processor by the machine's own C++ compiler, and kept.

Nothing depends on it: without a compiler everything is computed by plain torch, slower, to the same result within
rounding. `SETSAIL_KERNELS=off` forbids it. The invariant: a library is only loaded from a folder that nobody else may
write to, and its name holds everything that its code depends on.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from setsail.base.environment import read_environment
from setsail.base.machine import processor_flags

SOURCE = Path(__file__).with_name("kernels.cpp")
COMPILERS = ("c++", "g++", "clang++")
# No -ffast-math: what is not a number must stay so, or nobody would notice that a run has diverged.
FLAGS = ("-O3", "-std=c++17", "-fPIC", "-shared", "-fopenmp", "-fno-math-errno", "-fno-trapping-math")
COMPILE_SECONDS = 300

Tensor = ctypes.c_void_p
Int, Float, Threads = ctypes.c_int64, ctypes.c_float, ctypes.c_int32


class Attention(ctypes.Structure):
    """What attention computes; the twin of `struct Attention` in kernels.cpp."""

    _fields_ = (
        ("starts", ctypes.c_void_p),
        *((name, ctypes.c_int32) for name in ("documents", "heads", "groups", "channels", "causal", "window")),
        ("scale", ctypes.c_float),
        ("threads", ctypes.c_int32),
        *((name, ctypes.c_int64) for name in ("query_stride", "key_stride", "value_stride", "output_stride")),
    )


_SIGNATURES = {
    "attend": (ctypes.POINTER(Attention), *[Tensor] * 5, Int),
    "attend_backward": (ctypes.POINTER(Attention), *[Tensor] * 9, Int),
    "rotate": (Tensor, Int, Tensor, Tensor, Int, Int, Int, Float, Threads),
    "rms_norm": (Tensor, Tensor, Tensor, Tensor, Int, Int, Float, Threads),
    "rms_norm_backward": (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Int, Int, Threads),
    "swiglu": (Tensor, Tensor, Int, Int, Threads),
    "swiglu_backward": (Tensor, Tensor, Tensor, Int, Int, Threads),
    "cross_entropy": (Tensor, Tensor, Tensor, Int, Int, Threads),
    "accumulate": (Tensor, Tensor, Int, Threads),
}
SUFFIXES = ("f32", "bf16")


class NoKernels(Exception):
    """Why there are none, in words for `setsail doctor`."""


def library() -> ctypes.CDLL:
    """The compiled kernels, built on the first call of the first process.

    Raises:
        NoKernels: they are switched off, there is no compiler, or it fails.
    """
    outcome = _library_or_reason()
    if isinstance(outcome, NoKernels):
        raise outcome
    return outcome


@cache  # a failure too: every layer of every step asks, and a compiler that fails is not asked twice
def _library_or_reason() -> ctypes.CDLL | NoKernels:
    try:
        return _load()
    except NoKernels as reason:
        return reason


def _load() -> ctypes.CDLL:
    if not read_environment().kernels_allowed:
        raise NoKernels("switched off by SETSAIL_KERNELS")
    compiler = _compiler()
    if compiler is None:
        raise NoKernels(f"no C++ compiler ({', '.join(COMPILERS)}) on the path")
    path = _path(compiler)
    if not _is_whole(path):
        _compile(compiler, path)
    try:
        loaded = ctypes.CDLL(str(path))
    except OSError as error:
        raise NoKernels(f"{path} cannot be loaded: {error}") from error
    for name, signature in _SIGNATURES.items():
        for suffix in SUFFIXES:
            function = getattr(loaded, f"{name}_{suffix}")
            function.argtypes, function.restype = signature, None
    return loaded


def have_kernels() -> bool:
    """Whether kernels are at hand; the first question compiles them (about ten seconds)."""
    return why_not() is None


def why_not() -> str | None:
    """The reason why there are no kernels, or None."""
    outcome = _library_or_reason()
    return str(outcome) if isinstance(outcome, NoKernels) else None


def must_compile() -> bool:
    """Whether the first question will take the time of a compilation, so that somebody can say so."""
    compiler = _compiler()
    if not read_environment().kernels_allowed or compiler is None:
        return False
    try:
        return not _is_whole(_path(compiler))
    except NoKernels:
        return False


def have_compiler() -> bool:
    """Whether there is a compiler that could make them."""
    return _compiler() is not None


def _path(compiler: str) -> Path:
    return _private_folder(read_environment().cache / "kernels") / f"kernels-{_identity(compiler)}.so"


def _compiler() -> str | None:
    return next((path for name in COMPILERS if (path := shutil.which(name))), None)


def _native() -> tuple[str, ...]:
    """This processor and no other; 512-bit vectors where it has them, which compilers avoid unasked."""
    if platform.machine() in ("arm64", "aarch64"):
        return ("-mcpu=native",)
    wide = "avx512f" in processor_flags()
    return ("-march=native", "-mprefer-vector-width=512") if wide else ("-march=native",)


def _identity(compiler: str) -> str:
    """Source, compiler, its settings and the processor: whatever changes the code, or whether it runs here."""
    version = subprocess.run([compiler, "--version"], capture_output=True, timeout=COMPILE_SECONDS, check=False).stdout
    parts = (SOURCE.read_bytes(), version, " ".join((*FLAGS, *_native())).encode(), processor_flags().encode())
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:16]


def _private_folder(folder: Path) -> Path:
    """The folder, made so that nobody else may write to it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError as error:
        raise NoKernels(f"{folder} cannot be written: {error.strerror}") from error
    if status.st_uid != os.getuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise NoKernels(f"{folder} can be written by others, and code from it would be run")
    return folder


def _digest_file(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _is_whole(path: Path) -> bool:
    """Whether the library is there and just as it was written: a damaged one would kill the process that loads it."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == _digest_file(path).read_text("ascii")
    except (OSError, UnicodeDecodeError):
        return False


def _compile(compiler: str, path: Path) -> None:
    """Compiles beside the place and renames, so that two processes at once do no harm."""
    try:
        with tempfile.TemporaryDirectory(dir=path.parent) as draft:
            made = Path(draft) / path.name
            command = [compiler, *FLAGS, *_native(), str(SOURCE), "-o", str(made)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_SECONDS, check=False)
            if done.returncode:
                first = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr[:200])
                raise NoKernels(f"{compiler} failed: {first.strip()}")
            digest = _digest_file(made)
            digest.write_text(hashlib.sha256(made.read_bytes()).hexdigest(), "ascii")
            made.replace(path)
            digest.replace(_digest_file(path))
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoKernels(f"{compiler} failed: {error}") from error
