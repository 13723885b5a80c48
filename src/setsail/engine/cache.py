"""The numbers that an engine keeps of every token that it has read: how fine they are, and what memory they take.

A name here says the same of every engine: f32, f16, or int8, which is eight bits a number and a scale for a group of
them. "auto" is what an engine does by itself: f32 in OpenVINO, f16 in llama.cpp.
"""

from __future__ import annotations

from setsail.base.errors import UserError
from setsail.engine.gguf_limits import GgufLimits

# Bytes of a number. llama.cpp has a half-precision scale for every 32 (q8_0); OpenVINO two float32 numbers for every 32
# tokens of a channel of the keys, and for every head of a token of the values, here one of 64 numbers.
BYTES: dict[str, dict[str, float]] = {
    "openvino": {"f32": 4.0, "f16": 2.0, "int8": 1.0 + (8 / 32 + 8 / 64) / 2},
    "llamacpp": {"f32": 4.0, "f16": 2.0, "int8": 34 / 32},
}
OWN = {"openvino": "f32", "llamacpp": "f16"}
LLAMACPP_GROUP = 32


def refuse_unfit_cache(name: str, cache: str) -> None:
    """Raises: UserError for a cache that is asked of an engine which has only its own."""
    if cache != "auto" and name not in BYTES:
        raise UserError(
            f"the {name} engine keeps its cache as it computes, not in {cache}",
            place="serve.cache",
            hint=f"leave serve.cache out, or use the engine {' or '.join(BYTES)}",
        )


def cache_bytes(limits: GgufLimits, name: str, cache: str, *, context: int, slots: int) -> int | None:
    """The most memory that the cache of so many slots takes, full; None where the engine or the file does not tell."""
    if name not in BYTES or not limits.cache_values:
        return None
    each = BYTES[name][OWN[name] if cache == "auto" else cache]
    return round(limits.cache_values * each * min(context, limits.context or context) * slots)
