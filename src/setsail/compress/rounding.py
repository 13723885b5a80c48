"""A weight's values as one of GGUF's kinds stores them, each rounded once: the formats of the gguf package and ours."""

from __future__ import annotations

import numpy as np
from gguf import GGMLQuantizationType
from gguf.quants import quantize

from setsail.compress.q4_k import quantise_q4_k


def quantise(weight: np.ndarray, kind: GGMLQuantizationType) -> np.ndarray:
    """The stored form of a weight, row by row."""
    return quantise_q4_k(weight) if kind == GGMLQuantizationType.Q4_K else quantize(weight, kind)
