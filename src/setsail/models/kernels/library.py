"""The kernels' shared library, with the types of its functions; base/compiled.py makes it and keeps it.

Nothing depends on it: without a compiler everything is computed by plain torch, slower, to the same result within
rounding.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

from setsail.base import compiled
from setsail.base.compiled import have_compiler

__all__ = ["Attention", "have_compiler", "have_kernels", "library", "must_compile", "why_not"]

SOURCE = Path(__file__).with_name("kernels.cpp")

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


@cache
def library() -> ctypes.CDLL:
    """The compiled kernels, built on the first call of the first process.

    Raises:
        NotCompiled: they are switched off, there is no compiler, or it fails.
    """
    loaded = compiled.compiled(SOURCE)
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
    return compiled.why_not_compiled(SOURCE)


def must_compile() -> bool:
    """Whether the first question will take the time of a compilation, so that somebody can say so."""
    return compiled.must_compile(SOURCE)
