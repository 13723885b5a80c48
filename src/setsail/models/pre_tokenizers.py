"""The ways of cutting text before byte-pair merges, under the names that GGUF files give them.

Reading a GGUF builds the pre-tokenizer from its name; writing one finds the name from the pre-tokenizer. A pair that is
not in the table is refused in both directions: a guess would cut numbers or spaces otherwise than the model learned.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from tokenizers import Regex, Tokenizer
from tokenizers.pre_tokenizers import ByteLevel, Digits, PreTokenizer, Sequence, Split

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2_PATTERN = _WORDS + r"\p{N}" + _REST
LLAMA3_PATTERN = _WORDS + r"\p{N}{1,3}" + _REST


def _byte_level() -> PreTokenizer:
    return ByteLevel(add_prefix_space=False, use_regex=True)


def _split_then_bytes(pattern: str) -> PreTokenizer:
    return Sequence(
        [Split(Regex(pattern), behavior="isolated", invert=False), ByteLevel(add_prefix_space=False, use_regex=False)]
    )


PRE_TOKENIZERS: dict[str, Callable[[], PreTokenizer]] = {
    "gpt-2": _byte_level,
    "smollm": lambda: Sequence([Digits(individual_digits=True), _byte_level()]),
    "qwen2": lambda: _split_then_bytes(QWEN2_PATTERN),
    "llama-bpe": lambda: _split_then_bytes(LLAMA3_PATTERN),
}

# A whole word that is a token is taken as it is, before any merge is tried.
IGNORES_MERGES = ("llama-bpe",)


def pre_tokenizer_name(tokenizer: Tokenizer) -> str | None:
    """The GGUF name of a tokenizer's way of cutting; None when it is none that we know."""
    mine = _essence(tokenizer.pre_tokenizer)
    for name, build in PRE_TOKENIZERS.items():
        if mine == _essence(build()):
            return name
    return None


def _essence(pre_tokenizer: PreTokenizer | None) -> object:
    """What decides where text is cut, as plain values; offsets and wrappers of one element left out."""
    if pre_tokenizer is None:
        return None
    probe = Tokenizer.from_str(_EMPTY)
    probe.pre_tokenizer = pre_tokenizer
    return _simplified(json.loads(probe.to_str())["pre_tokenizer"])


def _simplified(value: object) -> object:
    if isinstance(value, list):
        return [_simplified(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get("type") == "Sequence" and len(value["pretokenizers"]) == 1:
        return _simplified(value["pretokenizers"][0])
    return {key: _simplified(item) for key, item in value.items() if key != "trim_offsets"}


_EMPTY = '{"version": "1.0", "model": {"type": "BPE", "vocab": {}, "merges": []}}'
