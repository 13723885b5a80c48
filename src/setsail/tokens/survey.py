"""What a tokenizer makes of texts: bytes per token, by script, unknown tokens, tokens never used, words it cuts small.

A character's script here is Han, kana, Hangul, Latin, other letters, digits, or the rest; a token counts for the script
of its first character that is no space.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from setsail.tokens.tokenizer import Tokenizer

NUM_WORST = 20
LEAST_STANDING = 3  # times that a word must stand there to be named
_MOST_WORDS = 20_000
_WORD = re.compile(r"[^\W\d_]{2,40}")
_SCRIPTS = (
    ("CJK UNIFIED", "Han"),
    ("HIRAGANA", "kana"),
    ("KATAKANA", "kana"),
    ("HANGUL", "Hangul"),
    ("LATIN", "Latin"),
)


@dataclass
class Script:
    """How many characters of a script there are, and in how many tokens."""

    characters: int = 0
    tokens: int = 0


@dataclass(frozen=True)
class Word:
    """A word that is cut small."""

    text: str
    count: int
    tokens: int


@dataclass
class Survey:
    """What was counted."""

    num_bytes: int = 0
    num_characters: int = 0
    num_tokens: int = 0
    num_unknown: int = 0
    vocabulary: int = 0
    scripts: dict[str, Script] = field(default_factory=dict)
    worst: tuple[Word, ...] = ()

    @property
    def bytes_per_token(self) -> float:
        return self.num_bytes / max(1, self.num_tokens)


def survey(tokenizer: Tokenizer, texts: Iterable[str]) -> Survey:
    """Everything that is counted, over texts that are read once."""
    found = Survey(vocabulary=tokenizer.num_tokens)
    unknown = tokenizer.token_id(tokenizer.named["unk_token"]) if "unk_token" in tokenizer.named else None
    words: Counter[str] = Counter()
    for text in texts:
        encoding = tokenizer.backend.encode(text, add_special_tokens=False)
        found.num_bytes += len(text.encode("utf-8"))
        found.num_characters += len(text)
        found.num_tokens += len(encoding.ids)
        found.num_unknown += encoding.ids.count(unknown) if unknown is not None else 0
        _count_scripts(found.scripts, text, encoding.offsets)
        if len(words) < _MOST_WORDS:
            words.update(_WORD.findall(text))
    found.worst = _worst(tokenizer, words)
    return found


def usage(tokenizer: Tokenizer, texts: Iterable[str]) -> tuple[int, int]:
    """How many characters the texts have, and how many different tokens they become."""
    quick, _ = tokenizer.quickened()
    num_characters, used = 0, set[int]()
    for text in texts:
        num_characters += len(text)
        used.update(quick.encode(text))
    return num_characters, len(used)


def _count_scripts(scripts: dict[str, Script], text: str, offsets: list[tuple[int, int]]) -> None:
    for character in text:
        scripts.setdefault(script_of(character), Script()).characters += 1
    for start, end in offsets:
        piece = text[start:end].lstrip() or " "
        scripts.setdefault(script_of(piece[0]), Script()).tokens += 1


@lru_cache(maxsize=1 << 16)
def script_of(character: str) -> str:
    """The script of a character.

    >>> [script_of(character) for character in "A月の7,"]
    ['Latin', 'Han', 'kana', 'digits', 'rest']
    """
    if character.isnumeric() and not unicodedata.name(character, "").startswith("CJK"):
        return "digits"
    if not character.isalpha():
        return "rest"
    name = unicodedata.name(character, "")
    return next((script for prefix, script in _SCRIPTS if name.startswith(prefix)), "other letters")


def _worst(tokenizer: Tokenizer, words: Counter[str]) -> tuple[Word, ...]:
    known = [
        Word(word, count, len(tokenizer.encode(word, continued=True)))
        for word, count in words.items()
        if count >= LEAST_STANDING
    ]
    return tuple(sorted(known, key=lambda word: (-word.tokens / len(word.text), -word.count, word.text))[:NUM_WORST])
