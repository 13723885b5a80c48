"""What a text is compared by: its words as numbers, the runs of five of them, and a MinHash sketch of those runs.

Words are what is left without case, punctuation and spacing, in Unicode NFKC; a Chinese, Japanese or Korean character
is a word of its own. Everything is computed for many texts at once and depends on nothing but the text: no random
state, no hash seed of the interpreter. What does not live here: finding copies (`duplicates.py`).
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# A compiled module whose names no checker can see.
from rensa import RMinHash  # pyright: ignore[reportAttributeAccessIssue]

GRAM_WORDS = 5
PERMUTATIONS = 64
_SEED = 20_26
_BATCH_CHARACTERS = 1 << 18
_NOT_WORDS = re.compile(r"[\W_]+")
_ASCII_NOT_WORDS = {code: " " for code in range(128) if not chr(code).isalnum()}
_P = 0x9E3779B97F4A7C15
_BETWEEN, _LETTER, _ALONE = 0, 1, 2
_EAST_ASIAN = ((0x3040, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xAC00, 0xD7AF), (0xF900, 0xFAFF))
_CHARACTERS = 0x30000  # what lies above (rare ideographs and private use) counts as words of their own

Words = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Sketches:
    """What N texts are compared by. The grams of text `i` are `grams[starts[i]:starts[i + 1]]`, as they follow.

    Shapes: exact (N, 2) uint64, equal where two texts have the same words; minhash (N, PERMUTATIONS) uint32;
    grams (G,) uint32; starts (N + 1,) int64.
    """

    exact: npt.NDArray[np.uint64]
    minhash: npt.NDArray[np.uint32]
    grams: npt.NDArray[np.uint32]
    starts: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.exact)

    def gram_set(self, index: int) -> npt.NDArray[np.uint32]:
        """The distinct grams of a text, sorted."""
        return np.unique(self.grams[self.starts[index] : self.starts[index + 1]])


def sketch(texts: Sequence[str], *, near: bool = True) -> Sketches:
    """The sketches of these texts; memory beside the result is bounded whatever their number.

    Without `near` only `exact` is made: there are no grams, and every minimum is zero.
    """
    return joined([_sketch_batch(batch, near=near) for batch in _batches(texts)])


def joined(parts: Sequence[Sketches]) -> Sketches:
    """Sketches one after another as one."""
    sizes = np.cumsum([0, *(part.starts[-1] for part in parts)])
    starts = [part.starts[:-1] + before for part, before in zip(parts, sizes[:-1], strict=True)]
    return Sketches(
        exact=np.concatenate([np.empty((0, 2), np.uint64), *(part.exact for part in parts)]),
        minhash=np.concatenate([np.empty((0, PERMUTATIONS), np.uint32), *(part.minhash for part in parts)]),
        grams=np.concatenate([np.empty(0, np.uint32), *(part.grams for part in parts)]),
        starts=np.concatenate([*starts, sizes[-1:]]).astype(np.int64),
    )


def normalised(text: str) -> str:
    """A short text without case, punctuation and spacing; where nothing would be left, the text as it is.

    >>> normalised("How do I  reset it?!") == normalised("how do i reset it")
    True
    """
    if text.isascii():
        return " ".join(text.lower().translate(_ASCII_NOT_WORDS).split()) or text
    return _NOT_WORDS.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip() or text


def equal_words(texts: Sequence[str]) -> list[bytes]:
    """A key for each text, equal where two texts have the same words."""
    return [key.tobytes() for batch in _batches(texts) for key in _exact(*word_hashes(batch))]


def word_hashes(texts: Sequence[str]) -> tuple[Words, npt.NDArray[np.int64]]:
    """The hashes of all words of all texts, and where each text's begin (one entry more than texts).

    Two texts have equal hashes where they have the same words. A text without any word is one word: itself.
    """
    plain = [text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold() for text in texts]
    codes = np.frombuffer("\n".join(plain).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    kinds = _kinds()[np.minimum(codes, _CHARACTERS)]
    text_starts = np.cumsum([0, *(len(text) + 1 for text in plain)])
    begins, ends = _word_bounds(kinds)
    starts = np.searchsorted(begins, text_starts)
    wordless = np.flatnonzero((np.diff(starts) == 0) & (np.diff(text_starts) > 1))
    if len(wordless):  # there every character counts as a word, so that "…" and "!" stay two texts
        for index in wordless:
            kinds[text_starts[index] : text_starts[index + 1] - 1] = _ALONE
        begins, ends = _word_bounds(kinds)
        starts = np.searchsorted(begins, text_starts)
    return _hashed(codes, begins, ends), starts


def _sketch_batch(texts: Sequence[str], *, near: bool) -> Sketches:
    words, starts = word_hashes(texts)
    if not near:
        none = np.zeros(len(texts) + 1, np.int64)
        empty = np.zeros((len(texts), PERMUTATIONS), np.uint32)
        return Sketches(_exact(words, starts), empty, np.empty(0, np.uint32), none)
    grams, gram_starts = runs_of_words(words, starts)
    digests = RMinHash.digest_matrix_from_flat_token_hashes(
        grams, gram_starts.astype(np.uint64), num_perm=PERMUTATIONS, seed=_SEED
    )
    return Sketches(
        exact=_exact(words, starts),
        minhash=np.array(digests.to_rows(), dtype=np.uint32).reshape(len(texts), PERMUTATIONS),
        grams=(grams >> np.uint64(32)).astype(np.uint32),
        starts=gram_starts,
    )


def _batches(texts: Sequence[str]) -> list[Sequence[str]]:
    batches, first, size = [], 0, 0
    for place, text in enumerate(texts):
        size += len(text)
        if size >= _BATCH_CHARACTERS:
            batches.append(texts[first : place + 1])
            first, size = place + 1, 0
    return [*batches, texts[first:]] if first < len(texts) else batches


@functools.cache
def _kinds() -> npt.NDArray[np.uint8]:
    """For each code point whether it separates words, is part of one, or is one."""
    kinds = np.full(_CHARACTERS + 1, _ALONE, np.uint8)
    # Letters, marks and numbers, as `\w` has them but for the underscore.
    kinds[:0x20000] = [chr(code).isalnum() or unicodedata.category(chr(code))[0] == "M" for code in range(0x20000)]
    for first, last in _EAST_ASIAN:
        kinds[first : last + 1] = _ALONE
    kinds.flags.writeable = False
    return kinds


def _word_bounds(kinds: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where each word begins, and the place behind its end."""
    letters, alone = kinds == _LETTER, kinds == _ALONE
    begins, ends = alone | letters, alone | letters
    begins[1:] &= alone[1:] | ~letters[:-1]
    ends[:-1] &= alone[:-1] | ~letters[1:]
    return np.flatnonzero(begins), np.flatnonzero(ends) + 1


def _hashed(codes: npt.NDArray[np.uint32], begins: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> Words:
    """A hash for each word: its characters are the digits of a number, modulo 2^64, then mixed.

    With P odd, the sum of c[i] P^i over a word, times P^-begin, is the same wherever the word stands.
    """
    powers, inverse = _powers(max(2 * _BATCH_CHARACTERS, len(codes)))
    digits = codes.astype(np.uint64)
    digits += np.uint64(1)
    digits *= powers[: len(codes)]
    through = np.cumsum(digits)  # up to a character, itself included
    before = through[begins] - digits[begins]
    return _mixed((through[ends - 1] - before) * inverse[begins])


@functools.lru_cache(maxsize=1)
def _powers(count: int) -> tuple[Words, Words]:
    """The powers of P and of its inverse modulo 2^64, from the zeroth on."""
    raised = (np.cumprod(np.full(count, root, np.uint64)) for root in (_P, pow(_P, -1, 1 << 64)))
    powers, inverse = (np.concatenate([np.ones(1, np.uint64), each]) for each in raised)
    return powers, inverse


def _mixed(values: Words) -> Words:
    """Every bit of the input reaches every bit of the output (Steele et al. 2014, splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def runs_of_words(
    words: Words, starts: npt.NDArray[np.int64], length: int = GRAM_WORDS
) -> tuple[Words, npt.NDArray[np.int64]]:
    """Hashes of the runs of `length` words of each text, and where each text's begin; a shorter text is one run."""
    lengths = np.diff(starts)
    num_runs = np.maximum(lengths - length + 1, 1)
    run_starts = np.concatenate([[0], np.cumsum(num_runs)])
    first = np.arange(run_starts[-1]) + np.repeat(starts[:-1] - run_starts[:-1], num_runs)
    last = np.repeat(starts[1:], num_runs)
    total = np.zeros(len(first), np.uint64)
    for place in range(length if len(words) else 0):
        at = first + place
        word = words[np.minimum(at, len(words) - 1)] * np.uint64(pow(_P, place + 1, 1 << 64))
        total += np.where(at < last, word, np.uint64(0))
    return _mixed(total), run_starts


def _exact(words: Words, starts: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """128 bits that two texts share where they have the same words in the same order."""
    padded = np.concatenate([words, np.zeros(1, np.uint64)])
    within = np.arange(len(words)) - np.repeat(starts[:-1], np.diff(starts))
    places = _mixed(within.astype(np.uint64) + np.uint64(1)) | np.uint64(1)
    halves = []
    for turn in (0, 17):
        turned = (words << np.uint64(turn)) | (words >> np.uint64(64 - turn)) if turn else words
        padded[:-1] = _mixed(turned * places)
        sums = np.add.reduceat(padded, starts[:-1]) if len(starts) > 1 else np.empty(0, np.uint64)
        halves.append(np.where(np.diff(starts) > 0, sums, np.uint64(0)))
    return np.stack(halves, axis=1)
