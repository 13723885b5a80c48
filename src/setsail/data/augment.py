"""More training rows from those there are: small changes that leave the meaning, each marked with what was done.

Each made row names the one it was made from, stands in its group, and depends on nothing but that row, the way and the
seed; whoever wants them gone drops the rows with a mark that begins with "made:". Only a text, or what users say in a
conversation, is changed, never an answer, since a model would learn to make the mistakes. What does not live here: that
only training rows get copies (`prepare.py`).

Source: Wei and Zou 2019, EDA (arXiv 1901.11196): swaps and deletions of a tenth of the words help small sets of
hundreds of rows, and no longer large ones.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from setsail.base.recipe import Augment
from setsail.data.row import Row, row_id, with_contents

MARK = "made:"
# A Chinese, Japanese or Korean character, or a run of anything else but spaces.
_PIECES = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]|[^\s\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]+|\s+")
_WORD = re.compile(r"[^\W\d_]+")
_PLACEHOLDER = re.compile(r"\[[A-Z]+_\d+\]")
_KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_NEIGHBOURS = {key: row[max(0, at - 1) : at] + row[at + 1 : at + 2] for row in _KEYBOARD for at, key in enumerate(row)}


def augmented(row: Row, wanted: Augment, *, seed: int) -> Iterator[Row]:
    """The rows made from a row: `copies` for each way that is wanted; one that changes nothing is not given."""
    for way, share in (("swap", wanted.swap), ("delete", wanted.delete), ("typo", wanted.typo)):
        for number in range(1, wanted.copies + 1) if share else ():
            chance = random.Random(f"{seed}\0{row.id}\0{way}\0{number}")
            made = _changed(row, _WAYS[way], share, chance)
            if made is not None:
                origin = f"{row.origin}+{way}{number}"
                marks = (*row.marks, f"{MARK}{way} from {row.id}")
                yield replace(made, id=row_id(None, f"{row.id}+{way}{number}"), origin=origin, marks=marks)


def _changed(row: Row, way: Callable[..., str], share: float, chance: random.Random) -> Row | None:
    if not row.messages:
        text = way(row.text, share, chance)
        return with_contents(row, [text]) if text != row.text and text.strip() else None
    texts = [way(m["content"], share, chance) if m["role"] == "user" else m["content"] for m in row.messages]
    same = texts == [message["content"] for message in row.messages]
    return None if same or not all(text.strip() for text in texts) else with_contents(row, texts)


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


def _mistyped(word: str, chance: random.Random) -> str:
    place = chance.randrange(1, len(word))
    letter = word[place]
    instead = ["", letter * 2, *_NEIGHBOURS.get(letter, "")]
    return word[:place] + chance.choice(instead) + word[place + 1 :]


def _changeable(pieces: Sequence[str]) -> list[int]:
    """Where words stand; numbers, signs and placeholders of personal data stay as they are."""
    return [at for at, piece in enumerate(pieces) if _WORD.search(piece) and not _PLACEHOLDER.search(piece)]


_WAYS: dict[str, Callable[..., str]] = {"swap": _swap, "delete": _delete, "typo": _typo}
