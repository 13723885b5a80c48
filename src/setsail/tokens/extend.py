"""More tokens for a tokenizer that exists: merges learned from texts as it cuts them now, put behind its own.

The result is an ordinary byte-level BPE. Old merges come first, so that a text in which no new token occurs has the ids
that it had. A merge may also make a token that was there; then no token is new. What a model does with new ids is
models/resize.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from setsail.base.errors import DataError, ModelError
from setsail.tokens.tokenizer import BYTE_OF, TOKENIZER_FILE, Tokenizer, load
from setsail.tokens.words import Merge, count_words, learn_merges

LEAST_FREQUENCY = 2
_CHARACTER_OF = {byte: character for character, byte in BYTE_OF.items()}


@dataclass(frozen=True)
class Extended:
    """The tokenizer with more tokens, and for each new one the old ones that it stands for."""

    tokenizer: Tokenizer
    pieces: Mapping[int, tuple[int, ...]]


def extend(tokenizer: Tokenizer, texts: Iterable[str], folder: Path, *, add: int, min_frequency: int = 0) -> Extended:
    """Writes the tokenizer with at most `add` tokens more into the folder.

    Raises:
        ModelError: it is not a byte-level BPE.
        DataError: nothing in the texts is worth a token.
    """
    described = json.loads(tokenizer.backend.to_str())
    _refuse_other_kinds(tokenizer, described)
    names = _names(tokenizer)
    num_old = len(names)
    normalizer = tokenizer.backend.normalizer
    if normalizer is not None:
        texts = map(normalizer.normalize_str, texts)
    words = count_words(texts, tokenizer.backend.pre_tokenizer)
    symbols, starts = _cut_now(tokenizer, words.texts())
    least = max(LEAST_FREQUENCY, min_frequency)
    merges = learn_merges(symbols, starts, words.counts, names, vocabulary=num_old + add, min_frequency=least)
    pieces = pieces_of(merges, num_old)
    if not pieces:
        raise DataError("nothing in the texts stands often enough for a new token", hint="give more text")
    for left, right, made in merges:
        if made == len(names):
            names.append(names[left] + names[right])
    model = described["model"]
    if taken := {names[number] for number in pieces} & model["vocab"].keys():
        raise ModelError(f"texts hold the tokens {', '.join(sorted(taken))} as words", place=str(tokenizer.folder))
    # Added tokens as well: reading the file, the library would give those outside the vocabulary new numbers behind it.
    model["vocab"] |= dict(tokenizer.added_tokens) | {names[number]: number for number in pieces}
    model["merges"] += [[names[left], names[right]] for left, right, _ in dict.fromkeys(merges)]
    tokenizer.save(folder)
    (folder / TOKENIZER_FILE).write_text(json.dumps(described, ensure_ascii=False), encoding="utf-8")
    return Extended(load(folder), pieces)


def pieces_of(merges: Iterable[Merge], num_old: int) -> dict[int, tuple[int, ...]]:
    """For each number from `num_old` on, the older ones that it was made of."""
    pieces: dict[int, tuple[int, ...]] = {}
    for left, right, made in merges:
        if made >= num_old and made not in pieces:
            pieces[made] = pieces.get(left, (left,)) + pieces.get(right, (right,))
    return pieces


def _refuse_other_kinds(tokenizer: Tokenizer, described: Mapping[str, Any]) -> None:
    kind = described["model"]["type"]
    if kind != "BPE" or not tokenizer.is_byte_level or (described["normalizer"] or {}).get("type", "NFC") != "NFC":
        raise ModelError(
            f"its tokenizer is a {kind}{' that is not byte-level' if kind == 'BPE' else ''}: merges cannot be added",
            place=str(tokenizer.folder),
            hint="extend takes byte-level BPE, as of SmolLM2, Qwen and Llama 3; or train one: tokenizer.kind",
        )


def _names(tokenizer: Tokenizer) -> list[str]:
    """Every token by its number; one that no merge may make, as a special one, has a name that none makes."""
    numbers = tokenizer.backend.get_vocab(with_added_tokens=True)
    names = [f"\0{number}" for number in range(tokenizer.num_ids)]
    for name, number in numbers.items():
        if name not in tokenizer.added_tokens:
            names[number] = name
    return names


def _cut_now(tokenizer: Tokenizer, words: list[str]) -> tuple[np.ndarray, np.ndarray]:
    model = tokenizer.backend.model
    ids = [
        [token.id for token in model.tokenize("".join(_CHARACTER_OF[byte] for byte in word.encode("utf-8")))]
        for word in words
    ]
    starts = np.cumsum([0, *map(len, ids)], dtype=np.int64)
    return np.array([number for word in ids for number in word], dtype=np.int32), starts
