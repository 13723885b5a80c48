"""Stop words left out: for counting words and finding topics. Never for a model that writes, and in no preset.

A language model learns grammar from the very words that this step takes out. It helps where a text is only a bag of
words: topics, keywords, nearest neighbours. Chinese has no spaces between words; its stop words are found by the
longest match over the list, which also hits inside longer words (目的地 loses 的), so that Chinese must be asked for.

Source: the lists of stopwords-iso, in the package stopwordsiso.
"""

from __future__ import annotations

import re
from typing import Literal

from stopwordsiso import stopwords

from setsail.base.recipe_part import Part
from setsail.data.steps.prose import in_prose, settled
from setsail.data.steps.script import HAN
from setsail.data.steps.step import Step

_WORD = re.compile(r"[ \t]?\b[A-Za-z]+(?:['’][A-Za-z]+)?\b")
_HAN_WORD = re.compile(f"[{HAN}]+")


class Options(Part):
    """Whose stop words are left out."""

    languages: tuple[Literal["en", "zh"], ...] = ("en",)


def step(options: Options) -> Step:
    """The step `stop_words`."""
    english = frozenset(stopwords("en")) if "en" in options.languages else frozenset()
    chinese = _longest_match() if "zh" in options.languages else None

    def shorten(prose: str) -> str:
        if english:
            prose = _WORD.sub(lambda word: "" if word.group().strip().lower() in english else word.group(), prose)
        return chinese.sub("", prose) if chinese and not prose.isascii() else prose

    return Step("stop_words", change=settled(lambda text: in_prose(text, shorten)))


def _longest_match() -> re.Pattern[str]:
    words = sorted((word for word in stopwords("zh") if _HAN_WORD.fullmatch(word)), key=lambda word: (-len(word), word))
    return re.compile("|".join(words))
