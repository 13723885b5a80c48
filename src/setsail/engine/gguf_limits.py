"""What an engine must know of a GGUF file before a C++ library opens it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from setsail.models import gguf_file


@dataclass(frozen=True)
class GgufLimits:
    """The architecture, the number of tokens, the longest context that the model was made for, and its weights' kinds.

    `kinds` are the names of GGUF's kinds that matrices have. `head_size` and `cache_values` are how many numbers
    attention keeps of a token: of one head, and of all heads and layers, keys and values; 0 where the file is silent.
    """

    architecture: str
    num_tokens: int
    context: int | None
    kinds: frozenset[str]
    head_size: int
    cache_values: int


def read_limits(model: Path) -> GgufLimits:
    """The limits of a sound file.

    Raises: ModelError for a missing, truncated or malformed one; the libraries would hang or crash on some of these.
    """
    changed_ns = model.stat().st_mtime_ns if model.is_file() else 0
    return _limits_of(model, changed_ns)


@lru_cache(maxsize=16)  # an engine is chosen, its cache is told, it is opened: a file is asked about several times
def _limits_of(model: Path, changed_ns: int) -> GgufLimits:
    gguf = gguf_file.read(model)
    told = {name: _number(gguf, name) for name in ("context_length", "block_count", "embedding_length")}
    heads = _number(gguf, "attention.head_count")
    head_size = _number(gguf, "attention.key_length") or (told["embedding_length"] // heads if heads else 0)
    groups = _number(gguf, "attention.head_count_kv") or heads
    return GgufLimits(
        architecture=gguf.architecture,
        num_tokens=len(gguf.metadata.get("tokenizer.ggml.tokens", ())),
        context=told["context_length"] or None,
        kinds=frozenset(tensor.kind.name for tensor in gguf.tensors.values() if len(tensor.shape) > 1),
        head_size=head_size,
        cache_values=2 * told["block_count"] * groups * head_size,
    )


def _number(gguf: gguf_file.GgufModel, name: str) -> int:
    """A number of the architecture; 0 where there is none, or one for each layer."""
    value = gguf.metadata.get(f"{gguf.architecture}.{name}")
    return int(value) if isinstance(value, int | float) else 0
