"""Words of texts with how often each stands there, and the byte-pair merges that are learned from them.

Both are done by compiled code where there is a compiler (words.cpp); without one, words are cut by the tokenizers
library and merges learned here, slower, to the same result. What a letter, a number and a space is, the library itself
is asked. The invariants: the words are those that the library's own pre-tokenizer makes; the merges are those that its
trainer learns from them.
"""

from __future__ import annotations

import ctypes
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from heapq import heapify, heappop, heappush
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Regex, pre_tokenizers
from tokenizers.pre_tokenizers import ByteLevel, PreTokenizer

from setsail.base.compiled import compiled, why_not_compiled

SOURCE = Path(__file__).with_name("words.cpp")
_CODES = 0x110000
_LAST_ASSIGNED = 0x40000  # letters, numbers and spaces are all below
_LETTER, _NUMBER, _SPACE, _DIGIT = 1, 2, 3, 4
_POINTER, _INT = ctypes.c_void_p, ctypes.c_int64
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "counter_new": (_POINTER, _POINTER, _INT, ctypes.c_int32),
    "counter_free": (None, _POINTER),
    "counter_add": (None, _POINTER, ctypes.c_char_p, _INT),
    "counter_num_words": (_INT, _POINTER),
    "counter_num_bytes": (_INT, _POINTER),
    "counter_take": (None, *[_POINTER] * 4),
    "learner_run": (_POINTER, *[_POINTER] * 3, _INT, _POINTER, _POINTER, *[_INT] * 3),
    "learner_num_merges": (_INT, _POINTER),
    "learner_take": (None, _POINTER, _POINTER),
    "learner_free": (None, _POINTER),
}

Merge = tuple[int, int, int]  # the left token, the right one, and the one that they make


@dataclass(frozen=True, eq=False)
class Words:
    """Different words as UTF-8, one after the other, where each starts (and the last ends), and how often it stands."""

    data: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.counts)

    def texts(self) -> list[str]:
        """The words themselves."""
        whole, starts = self.data.tobytes(), self.starts.tolist()
        return [whole[start:end].decode("utf-8") for start, end in pairwise(starts)]


def count_words(texts: Iterable[str], cut: PreTokenizer) -> Words:
    """The words that a byte-level pre-tokenizer makes of the texts; the texts are read once and not kept."""
    pattern = _pattern_of(cut)
    if pattern is None or why_not_compiled(SOURCE) is not None:
        return _count_plainly(texts, cut)
    library, table = _library(), _table()
    counter = library.counter_new(table.ctypes.data, len(table), pattern)
    try:
        for text in texts:
            raw = text.encode("utf-8")
            library.counter_add(counter, raw, len(raw))
        num_words = library.counter_num_words(counter)
        data = np.empty(library.counter_num_bytes(counter), np.uint8)
        starts, counts = np.empty(num_words + 1, np.int64), np.empty(num_words, np.int64)
        library.counter_take(counter, data.ctypes.data, starts.ctypes.data, counts.ctypes.data)
    finally:
        library.counter_free(counter)
    return Words(data, starts, counts)


def _count_plainly(texts: Iterable[str], cut: PreTokenizer) -> Words:
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text[start:end] for _, (start, end) in cut.pre_tokenize_str(text))
    raw = [word.encode("utf-8") for word in counts]
    starts = np.cumsum([0, *map(len, raw)], dtype=np.int64)
    return Words(np.frombuffer(b"".join(raw), np.uint8), starts, np.array(list(counts.values()), np.int64))


def learn_merges(
    symbols: npt.NDArray[np.int32],
    starts: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    names: Sequence[str],
    *,
    vocabulary: int,
    min_frequency: int = 0,
) -> list[Merge]:
    """The merges that make a vocabulary of `names` grow to `vocabulary`, most frequent pair first.

    `symbols` are the words as numbers of `names`, word after word. Of two pairs as frequent, the smaller numbers come
    first. A merge may make a token that is there already.
    """
    if why_not_compiled(SOURCE) is not None:
        return _learn_plainly(symbols, starts, counts, names, vocabulary=vocabulary, min_frequency=min_frequency)
    library = _library()
    raw = [name.encode("utf-8") for name in names]
    joined, name_starts = np.frombuffer(b"".join(raw), np.uint8), np.cumsum([0, *map(len, raw)], dtype=np.int64)
    symbols = np.ascontiguousarray(symbols, np.int32)
    starts, counts = np.ascontiguousarray(starts, np.int64), np.ascontiguousarray(counts, np.int64)
    words = (symbols.ctypes.data, starts.ctypes.data, counts.ctypes.data, len(counts))
    known = (joined.ctypes.data, name_starts.ctypes.data, len(names))
    learner = library.learner_run(*words, *known, vocabulary, min_frequency)
    try:
        merges = np.empty((library.learner_num_merges(learner), 3), np.int32)
        library.learner_take(learner, merges.ctypes.data)
    finally:
        library.learner_free(learner)
    return [(left, right, made) for left, right, made in merges.tolist()]


def _learn_plainly(
    symbols: npt.NDArray[np.int32],
    starts: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    names: Sequence[str],
    *,
    vocabulary: int,
    min_frequency: int,
) -> list[Merge]:
    words = [symbols[start:end].tolist() for start, end in pairwise(starts)]
    tokens, numbers = list(names), {name: number for number, name in reversed(list(enumerate(names)))}
    totals: Counter[tuple[int, int]] = Counter()
    found: dict[tuple[int, int], set[int]] = {}
    for number, word in enumerate(words):
        for pair in pairwise(word):
            totals[pair] += int(counts[number])
            found.setdefault(pair, set()).add(number)
    queue = [(-totals[pair], pair, where) for pair, where in found.items()]
    heapify(queue)
    merges: list[Merge] = []
    while queue and len(tokens) < vocabulary:
        count, pair, where = heappop(queue)
        if -count != totals[pair]:
            heappush(queue, (-totals[pair], pair, where))
            continue
        if -count < max(1, min_frequency):
            break
        name = tokens[pair[0]] + tokens[pair[1]]
        if name not in numbers:
            numbers[name] = len(tokens)
            tokens.append(name)
        merges.append((*pair, numbers[name]))
        found = {}
        for number in where:
            words[number], changes = _merged(words[number], pair, numbers[name])
            for changed, change in changes:
                totals[changed] += change * int(counts[number])
                if change > 0:
                    found.setdefault(changed, set()).add(number)
        for changed, where in found.items():
            if totals[changed] > 0:
                heappush(queue, (-totals[changed], changed, where))
    return merges


def _merged(word: list[int], pair: tuple[int, int], made: int) -> tuple[list[int], list[tuple[tuple[int, int], int]]]:
    """The word with the pair merged, and which pairs it has more or less of."""
    new: list[int] = []
    changes: list[tuple[tuple[int, int], int]] = []
    at = 0
    while at < len(word):
        if tuple(word[at : at + 2]) != pair:
            new.append(word[at])
            at += 1
            continue
        if new:
            changes += [((new[-1], pair[0]), -1), ((new[-1], made), 1)]
        if at + 2 < len(word):
            changes += [((pair[1], word[at + 2]), -1), ((made, word[at + 2]), 1)]
        new.append(made)
        at += 2
    return new, changes


_QWEN2, _LLAMA3 = r"|\p{N}| ?", r"|\p{N}{1,3}| ?"
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r"[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def _pattern_of(cut: PreTokenizer) -> int | None:
    """Which of the ways that words.cpp knows this is: `enum Cut` there; None where it is another one."""
    described = json.loads(cut.__getstate__())
    for number, known in enumerate(_known_cuts()):
        if described == json.loads(known.__getstate__()):
            return number
    return None


@cache
def _known_cuts() -> tuple[PreTokenizer, ...]:
    words = ByteLevel(add_prefix_space=False, use_regex=True)
    only_bytes = ByteLevel(add_prefix_space=False, use_regex=False)
    digits = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), words])
    patterns = [_CONTRACTIONS + numbers + _REST for numbers in (_QWEN2, _LLAMA3)]
    splits = [pre_tokenizers.Split(Regex(pattern), behavior="isolated", invert=False) for pattern in patterns]
    return words, digits, *(pre_tokenizers.Sequence([split, only_bytes]) for split in splits)


@cache
def _library() -> ctypes.CDLL:
    library = compiled(SOURCE)
    for name, (result, *arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, tuple(arguments)
    return library


@cache
def _table() -> npt.NDArray[np.uint8]:
    """What each character is, as the tokenizers library's own regular expressions say."""
    codes = np.array([code for code in range(_LAST_ASSIGNED) if not 0xD800 <= code < 0xE000])
    every = "".join(map(chr, codes.tolist()))
    table = np.zeros(_CODES, np.uint8)
    for expression, mark in ((r"\p{L}+", _LETTER), (r"\p{N}+", _NUMBER), (r"\s+", _SPACE)):
        split = pre_tokenizers.Split(Regex(expression), behavior="removed", invert=True)
        for _, (start, end) in split.pre_tokenize_str(every):
            table[codes[start:end]] |= mark
    runs = pre_tokenizers.Digits(individual_digits=False).pre_tokenize_str(every)
    for _, (start, end) in runs[1::2]:  # the first one begins with a character that is no digit, and they alternate
        table[codes[start:end]] |= _DIGIT
    return table
