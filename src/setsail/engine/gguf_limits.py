"""What an engine must know of a GGUF file before a C++ library opens it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from setsail.models import gguf_file


@dataclass(frozen=True)
class GgufLimits:
    """The architecture, the number of tokens, the longest context that the model was made for, and its weights' kinds.

    `kinds` are the names of GGUF's kinds that matrices have.
    """

    architecture: str
    num_tokens: int
    context: int | None
    kinds: frozenset[str]


def read_limits(model: Path) -> GgufLimits:
    """The limits of a sound file.

    Raises: ModelError for a missing, truncated or malformed one; the libraries would hang or crash on some of these.
    """
    gguf = gguf_file.read(model)
    context = gguf.metadata.get(f"{gguf.architecture}.context_length")
    return GgufLimits(
        architecture=gguf.architecture,
        num_tokens=len(gguf.metadata.get("tokenizer.ggml.tokens", ())),
        context=int(context) if context else None,
        kinds=frozenset(tensor.kind.name for tensor in gguf.tensors.values() if len(tensor.shape) > 1),
    )
