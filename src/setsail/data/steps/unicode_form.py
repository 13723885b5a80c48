"""One spelling for each character: Unicode NFC, and on request those compatibility characters that lose nothing.

`form: nfkc` is not Unicode's NFKC, which makes 10² into 102, ½ into 1⁄2 and ① into 1. It is NFC, and in prose the
characters whose whole meaning is in their plain letters: ligatures (ﬁ), the radicals that PDF readers emit for Chinese
characters (⼈ for 人), half-width katakana and Hangul, Arabic presentation forms, and squared units and words (㎏, ㌔).
Full-width letters have a step of their own. Code is never changed.

Source: Unicode Standard Annex 15; which blocks are safe is our choice.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Literal

from setsail.base.recipe_part import Part
from setsail.data.steps.prose import in_prose, settled
from setsail.data.steps.step import Step

_SAFE_BLOCKS = (
    (0x2E80, 0x2FDF),  # radicals
    (0x3300, 0x33FF),  # squared units and words
    (0xFB00, 0xFB17),  # Latin and Armenian ligatures
    (0xFB50, 0xFBFF),  # Arabic presentation forms
    (0xFE70, 0xFEFC),
    (0xFF65, 0xFFDC),  # half-width katakana and Hangul
)


class Options(Part):
    """`nfkc` also replaces ligatures, radicals, half-width letters and squared units in prose."""

    form: Literal["nfc", "nfkc"] = "nfc"


def step(options: Options) -> Step:
    """The step `unicode_form`."""
    return Step("unicode_form", change=composed if options.form == "nfc" else settled(plain_letters))


def composed(text: str) -> str:
    """The text in Unicode NFC."""
    return text if unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text)


def plain_letters(text: str) -> str:
    """The text in Unicode NFC, with letters for the characters that are only another form of letters.

    >>> plain_letters("the ﬁrst ⼈, 10² and ½ of ①")
    'the first 人, 10² and ½ of ①'
    """
    if text.isascii():
        return text
    sign, table = _safe()
    return composed(in_prose(text, lambda prose: sign.sub(lambda found: table[found.group()], prose)))


@lru_cache
def _safe() -> tuple[re.Pattern[str], dict[str, str]]:
    """What is replaced by what: characters of the safe blocks that become letters and nothing else."""
    characters = (chr(code) for first, last in _SAFE_BLOCKS for code in range(first, last + 1))
    forms = {character: unicodedata.normalize("NFKC", character) for character in characters}
    table = {old: new for old, new in forms.items() if new != old and _only_letters(new)}
    return re.compile(f"[{''.join(table)}]"), table


def _only_letters(text: str) -> bool:
    """Whether nothing was raised or counted: ㎡ becomes m2, ㏠ 1日, and neither is what was said."""
    return all(unicodedata.category(character)[0] in "LM" for character in text)
