"""Shared libraries made of our own C++ files: compiled once for this processor by the machine's compiler, and kept.

Nothing depends on them: without a compiler the same is computed otherwise, slower. `SETSAIL_KERNELS=off` forbids them.
The invariant: a library is only loaded from a folder that nobody else may write to, and its name holds everything that
its code depends on.
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

COMPILERS = ("c++", "g++", "clang++")
# No -ffast-math: what is not a number must stay so, or nobody would notice that a run has diverged.
FLAGS = ("-O3", "-std=c++17", "-fPIC", "-shared", "-fopenmp", "-fno-math-errno", "-fno-trapping-math")
COMPILE_SECONDS = 300


class NotCompiled(Exception):
    """Why there is no library, in words for `setsail doctor`."""


def compiled(source: Path) -> ctypes.CDLL:
    """The library of a C++ file, built on the first call of the first process.

    Raises:
        NotCompiled: it is switched off, there is no compiler, or it fails.
    """
    outcome = _library_or_reason(source)
    if isinstance(outcome, NotCompiled):
        raise outcome
    return outcome


def why_not_compiled(source: Path) -> str | None:
    """The reason why there is no library, or None; the first question compiles it."""
    outcome = _library_or_reason(source)
    return str(outcome) if isinstance(outcome, NotCompiled) else None


@cache  # a failure too: every layer of every step asks, and a compiler that fails is not asked twice
def _library_or_reason(source: Path) -> ctypes.CDLL | NotCompiled:
    try:
        return _load(source)
    except NotCompiled as reason:
        return reason


def _load(source: Path) -> ctypes.CDLL:
    if not read_environment().kernels_allowed:
        raise NotCompiled("switched off by SETSAIL_KERNELS")
    compiler = _compiler()
    if compiler is None:
        raise NotCompiled(f"no C++ compiler ({', '.join(COMPILERS)}) on the path")
    path = _path(source, compiler)
    if not _is_whole(path):
        _compile(source, compiler, path)
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise NotCompiled(f"{path} cannot be loaded: {error}") from error


def must_compile(source: Path) -> bool:
    """Whether the first question will take the time of a compilation, so that somebody can say so."""
    compiler = _compiler()
    if not read_environment().kernels_allowed or compiler is None:
        return False
    try:
        return not _is_whole(_path(source, compiler))
    except NotCompiled:
        return False


def have_compiler() -> bool:
    """Whether there is a compiler that could make them."""
    return _compiler() is not None


def _path(source: Path, compiler: str) -> Path:
    folder = _private_folder(read_environment().cache / "kernels")
    return folder / f"{source.stem}-{_identity(source, compiler)}.so"


def _compiler() -> str | None:
    return next((path for name in COMPILERS if (path := shutil.which(name))), None)


def _native() -> tuple[str, ...]:
    """This processor and no other; 512-bit vectors where it has them, which compilers avoid unasked."""
    if platform.machine() in ("arm64", "aarch64"):
        return ("-mcpu=native",)
    wide = "avx512f" in processor_flags()
    return ("-march=native", "-mprefer-vector-width=512") if wide else ("-march=native",)


def _identity(source: Path, compiler: str) -> str:
    """Source, compiler, its settings and the processor: whatever changes the code, or whether it runs here."""
    version = subprocess.run([compiler, "--version"], capture_output=True, timeout=COMPILE_SECONDS, check=False).stdout
    parts = (source.read_bytes(), version, " ".join((*FLAGS, *_native())).encode(), processor_flags().encode())
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
        raise NotCompiled(f"{folder} cannot be written: {error.strerror}") from error
    if status.st_uid != os.getuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise NotCompiled(f"{folder} can be written by others, and code from it would be run")
    return folder


def _digest_file(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _is_whole(path: Path) -> bool:
    """Whether the library is there and just as it was written: a damaged one would kill the process that loads it."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == _digest_file(path).read_text("ascii")
    except (OSError, UnicodeDecodeError):
        return False


def _compile(source: Path, compiler: str, path: Path) -> None:
    """Compiles beside the place and renames, so that two processes at once do no harm."""
    try:
        with tempfile.TemporaryDirectory(dir=path.parent) as draft:
            made = Path(draft) / path.name
            command = [compiler, *FLAGS, *_native(), str(source), "-o", str(made)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_SECONDS, check=False)
            if done.returncode:
                first = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr[:200])
                raise NotCompiled(f"{compiler} failed: {first.strip()}")
            digest = _digest_file(made)
            digest.write_text(hashlib.sha256(made.read_bytes()).hexdigest(), "ascii")
            made.replace(path)
            digest.replace(_digest_file(path))
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotCompiled(f"{compiler} failed: {error}") from error
