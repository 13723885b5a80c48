"""Rows that say the same: exactly, over normalised content, and nearly, by the Jaccard similarity of 5-grams.

Near copies are proposed by MinHash (rensa) and confirmed by the true similarity, so that none is removed by chance; a
pair close to the threshold may be missed. Everything is deterministic. What does not live here: what is done with a
copy (`prepare.py`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

# A compiled module whose names no checker can see.
from rensa import RMinHash, RMinHashLSH  # pyright: ignore[reportAttributeAccessIssue]

from setsail.data.row import Row

_NOT_WORDS = re.compile(r"[\W_]+")
_ASCII_NOT_WORDS = {code: " " for code in range(128) if not chr(code).isalnum()}
# A Chinese, Japanese or Korean character counts as a word of its own.
_WORDS = re.compile(
    r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff]|[^\W\u3040-\u9fff\uac00-\ud7af]+"
)
_GRAM_WORDS = 5
_PERMUTATIONS = 128
_SEED = 20_26
_BATCH_TEXTS = 4096


def content_of(row: Row) -> str:
    """What makes a row the same as another: who says what, without the system prompt."""
    turns = [f"{m['role']}\n{m['content']}" for m in row.messages if m["role"] != "system"]
    return "\n\n".join(turns) if turns else row.text


def normalised(text: str) -> str:
    """The text without case, punctuation and spacing; where nothing would be left, the text as it is.

    >>> normalised("How do I  reset it?!") == normalised("how do i reset it")
    True
    """
    if text.isascii():
        return " ".join(text.lower().translate(_ASCII_NOT_WORDS).split()) or text
    return _NOT_WORDS.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip() or text


def exact_copies(texts: Sequence[str]) -> dict[int, int]:
    """For each text that stands earlier in the list too: its index, and the first one's."""
    first: dict[str, int] = {}
    copies: dict[int, int] = {}
    for index, text in enumerate(texts):
        original = first.setdefault(normalised(text), index)
        if original != index:
            copies[index] = original
    return copies


def near_copies(texts: Sequence[str], threshold: float) -> dict[int, int]:
    """For each text that is nearly an earlier one that stays: its index, and that one's."""
    index = _Index(threshold)
    kept: dict[int, frozenset[int]] = {}
    copies: dict[int, int] = {}
    for place, grams, sketch in _sketched(texts):
        original = index.nearest(grams, sketch, kept)
        if original is None:
            kept[place] = grams
            index.lsh.insert(place, sketch)
        else:
            copies[place] = original
    return copies


def contaminated(test_rows: Sequence[Row], train_rows: Sequence[Row], threshold: float) -> dict[str, str]:
    """For each test row that stands in train, exactly or nearly: its id, and the id of the train row."""
    train_texts = [content_of(row) for row in train_rows]
    exact = {normalised(text): place for place, text in reversed(list(enumerate(train_texts)))}
    index = _Index(threshold)
    grams_of: dict[int, frozenset[int]] = {}
    for place, grams, sketch in _sketched(train_texts):
        grams_of[place] = grams
        index.lsh.insert(place, sketch)
    found: dict[str, str] = {}
    test_texts = [content_of(row) for row in test_rows]
    for place, grams, sketch in _sketched(test_texts):
        original = exact.get(normalised(test_texts[place]))
        original = index.nearest(grams, sketch, grams_of) if original is None else original
        if original is not None:
            found[test_rows[place].id] = train_rows[original].id
    return found


def jaccard(left: frozenset[int], right: frozenset[int]) -> float:
    """How much of two sets is shared, 0 to 1."""
    shared = len(left & right)
    return shared / (len(left) + len(right) - shared)


def grams(text: str) -> frozenset[str]:
    """The runs of five words of a text; a shorter text is one run."""
    return frozenset(_gram_list(normalised(text)) or [text])


def _gram_list(text: str) -> list[str]:
    words = text.split() if text.isascii() else _WORDS.findall(text)
    if len(words) <= _GRAM_WORDS:
        return [" ".join(words)] if words else []
    return list(map(" ".join, zip(*(words[start:] for start in range(_GRAM_WORDS)), strict=False)))


class _Index:
    """A MinHash index whose bands suit a threshold, and the true test of what it proposes."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        # 32 bands of 4 propose a pair at 0.8 with probability 1 - 5e-8; low thresholds need more bands.
        self.lsh = RMinHashLSH(threshold, _PERMUTATIONS, 32 if threshold >= 0.6 else 64)

    def nearest(self, grams: frozenset[int], sketch: RMinHash, known: dict[int, frozenset[int]]) -> int | None:
        """The most similar known text at or over the threshold; of equals the first."""
        best: tuple[float, int] | None = None
        for place in sorted(self.lsh.query(sketch)):
            score = jaccard(grams, known[place])
            if score >= self.threshold and (best is None or score > best[0]):
                best = (score, place)
        return best[1] if best else None


def _sketched(texts: Sequence[str]) -> Iterable[tuple[int, frozenset[int], RMinHash]]:
    """Each text's place, hashed grams and sketch; a batch at a time keeps memory flat."""
    for start in range(0, len(texts), _BATCH_TEXTS):
        batch = [_gram_list(normalised(text)) or [text] for text in texts[start : start + _BATCH_TEXTS]]
        hashes = RMinHash.hash_token_sets(batch)
        sketches = RMinHash.from_token_sets(batch, num_perm=_PERMUTATIONS, seed=_SEED)
        for offset, (hashed, sketch) in enumerate(zip(hashes, sketches, strict=True)):
            yield start + offset, frozenset(hashed), sketch
