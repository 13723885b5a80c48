"""More training rows from those there are: small changes that leave the meaning, each marked with what was done.

Each made row names the one it was made from, stands in its group, and depends on nothing but that row, the way, the
seed and, where a model writes, what it answered; whoever wants them gone drops the rows with a mark that begins with
"made:". Only a text, or what users say in a conversation, is changed: a model would learn to make the mistakes of a
changed answer. A whole answer may be a teacher's instead. What does not live here: that only training rows get copies
(`prepare.py`), the answers of a model and what is wrong with them (`rewrite.py`).

Source: Wei and Zou 2019, EDA (arXiv 1901.11196): swaps and deletions of a tenth of the words help small sets of
hundreds of rows, and no longer large ones.
"""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from setsail.base.recipe_data import Augment
from setsail.data.lexicon import Lexicon, pattern_of
from setsail.data.rewrite import Rewriter
from setsail.data.row import Row, contents, row_id, with_contents

MARK = "made:"
# A Chinese, Japanese or Korean character, or a run of anything else but spaces.
_PIECES = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]|[^\s\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]+|\s+")
_WORD = re.compile(r"[^\W\d_]+")
_PLACEHOLDER = re.compile(r"\[[A-Z]+_\d+\]")
_KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_NEIGHBOURS = {key: row[max(0, at - 1) : at] + row[at + 1 : at + 2] for row in _KEYBOARD for at, key in enumerate(row)}


Way = Callable[[str, float, random.Random], str]  # a text, the share of words to change, chance: the text changed


class Augmenter:
    """Makes the rows that a recipe wants; `lexicon` has its synonyms, `rewriter` asks its model."""

    def __init__(
        self, wanted: Augment, *, seed: int, lexicon: Lexicon | None = None, rewriter: Rewriter | None = None
    ) -> None:
        self._wanted, self._seed, self._rewriter = wanted, seed, rewriter
        self._ways: list[tuple[str, float, Way]] = [
            ("swap", wanted.swap, _swap),
            ("delete", wanted.delete, _delete),
            ("typo", wanted.typo, _typo),
        ]
        self._ways.append(("synonym", wanted.synonym, _synonyms_of(lexicon or {})))

    @property
    def asks(self) -> bool:
        """Whether a model is asked, which takes its time."""
        return self._rewriter is not None

    @property
    def refused(self) -> Mapping[str, int]:
        """Answers of the model that were not used, by what was wrong with them."""
        return self._rewriter.refused if self._rewriter else {}

    def made_from(self, row: Row) -> Iterator[Row]:
        """`copies` of the row for each way that is wanted; one in which nothing is changed is not given."""
        for number in range(1, self._wanted.copies + 1):
            for name, share, way in self._ways:
                if share:
                    chance = self._chance(row, name, number)
                    yield from _named(row, name, number, _applied(way, share, chance))
            for name, share in (
                ("paraphrase", self._wanted.paraphrase),
                ("back_translate", self._wanted.back_translate),
            ):
                if self._rewriter and self._chance(row, name, number).random() < share:
                    write = functools.partial(self._rewriter.rewritten, name, seed=self._seed + number)
                    yield from _named(row, name, number, write)
            if self._rewriter and _is_asked(row) and self._chance(row, "answer", number).random() < self._wanted.answer:
                asked, own = row.messages[:-1], row.messages[-1]["content"]
                answer = self._rewriter.answered(asked, own, seed=self._seed + number)
                if answer != own:
                    yield _marked(row, "answer", number, (*(turn["content"] for turn in asked), answer))

    def _chance(self, row: Row, name: str, number: int) -> random.Random:
        return random.Random(f"{self._seed}\0{row.id}\0{name}\0{number}")


def _applied(way: Way, share: float, chance: random.Random) -> Callable[[str], str]:
    return lambda text: way(text, share, chance)


def _named(row: Row, name: str, number: int, change: Callable[[str], str]) -> Iterator[Row]:
    """The changed row with its id, origin and mark, unless nothing is changed or a text is gone."""
    before = contents(row)
    says = [True] if not row.messages else [message["role"] in ("user", "query") for message in row.messages]
    after = tuple(change(text) if said else text for text, said in zip(before, says, strict=True))
    if after != before and all(text.strip() for text, said in zip(after, says, strict=True) if said):
        yield _marked(row, name, number, after)


def _marked(row: Row, name: str, number: int, texts: Sequence[str]) -> Row:
    made = with_contents(row, texts)
    marks = (*row.marks, f"{MARK}{name} from {row.id}")
    return replace(
        made, id=row_id(None, f"{row.id}+{name}{number}"), origin=f"{row.origin}+{name}{number}", marks=marks
    )


def _is_asked(row: Row) -> bool:
    """Whether it is a conversation, without calls of tools, whose last turn is an answer."""
    roles = [message["role"] for message in row.messages]
    return len(roles) > 1 and roles[-1] == "assistant" and {*roles} <= {"system", "user", "assistant"}


def _swap(text: str, share: float, chance: random.Random) -> str:
    """Neighbouring words change places, about this share of them."""
    pieces = _PIECES.findall(text)
    words = _changeable(pieces)
    for _ in range(max(1, round(share * len(words) / 2)) if len(words) > 3 else 0):
        at = chance.randrange(len(words) - 1)
        left, right = words[at], words[at + 1]
        if right - left <= 2:  # neighbours but for one space
            pieces[left], pieces[right] = pieces[right], pieces[left]
    return "".join(pieces)


def _delete(text: str, share: float, chance: random.Random) -> str:
    """About this share of the words goes, with the space behind each; at least three of four stay."""
    pieces = _PIECES.findall(text)
    words = _changeable(pieces)
    count = min(round(share * len(words)) or 1, len(words) // 4)
    gone = set(chance.sample(words, count))
    gone |= {at + 1 for at in gone if at + 1 < len(pieces) and pieces[at + 1].isspace()}
    return "".join(piece for at, piece in enumerate(pieces) if at not in gone)


def _typo(text: str, share: float, chance: random.Random) -> str:
    """In about this share of the words of Latin letters a letter is left out, doubled, or one beside it is struck."""
    pieces = _PIECES.findall(text)
    words = [at for at in _changeable(pieces) if pieces[at].isascii() and len(pieces[at]) > 3]
    for at in chance.sample(words, min(len(words), round(share * len(words)) or 1)):
        pieces[at] = _mistyped(pieces[at], chance)
    return "".join(pieces)


def _synonyms_of(lexicon: Lexicon) -> Way:
    known = pattern_of(lexicon) if lexicon else None

    def exchange(text: str, share: float, chance: random.Random) -> str:
        """About this share of the words, of those that the lexicon knows, become others that mean the same."""
        found = [] if known is None else [match.span() for match in known.finditer(text)]
        held = [match.span() for match in _PLACEHOLDER.finditer(text)]
        found = [(start, end) for start, end in found if not any(a < end and start < b for a, b in held)]
        num_words = len(_changeable(_PIECES.findall(text)))
        for start, end in sorted(chance.sample(found, min(len(found), round(share * num_words) or 1)), reverse=True):
            text = (
                text[:start]
                + _as_written(chance.choice(lexicon[text[start:end].casefold()]), text[start:end])
                + text[end:]
            )
        return text

    return exchange


def _as_written(word: str, before: str) -> str:
    return word[:1].upper() + word[1:] if before[:1].isupper() else word


def _mistyped(word: str, chance: random.Random) -> str:
    place = chance.randrange(1, len(word))
    letter = word[place]
    instead = ["", letter * 2, *_NEIGHBOURS.get(letter, "")]
    return word[:place] + chance.choice(instead) + word[place + 1 :]


def _changeable(pieces: Sequence[str]) -> list[int]:
    """Where words stand; numbers, signs and placeholders of personal data stay as they are."""
    return [at for at, piece in enumerate(pieces) if _WORD.search(piece) and not _PLACEHOLDER.search(piece)]
