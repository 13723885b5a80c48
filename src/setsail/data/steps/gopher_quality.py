"""Whether an English text reads like prose, by the rules of Gopher; Chinese texts are for `chinese_quality`.

Source: Rae et al. 2021 (arXiv 2112.11446), appendix A.1.1, with its thresholds: 50 to 100,000 words, a mean word length
of 3 to 10, symbols (# and …) to words at most 0.1, at most 0.9 of lines beginning with a bullet and 0.3 ending in an
ellipsis, at least 0.8 of words with a letter, and two different words of eight that English cannot do without.
"""

from __future__ import annotations

import re

from pydantic import Field

from setsail.base.recipe_part import Part
from setsail.data.steps.script import is_chinese
from setsail.data.steps.step import Step, Verdict

_NEEDED = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))
_LETTER = re.compile(r"[^\W\d_]")
_BULLETS = ("-", "*", "•", "‣", "●", "▪", "◦")
_ELLIPSES = ("...", "…")


class Options(Part):
    """The thresholds of the paper; a corpus of short texts needs a smaller `min_words`."""

    min_words: int = Field(default=50, ge=0)
    max_words: int = Field(default=100_000, ge=1)
    min_mean_word: float = Field(default=3.0, ge=0)
    max_mean_word: float = Field(default=10.0, gt=0)
    max_symbols: float = Field(default=0.1, ge=0)
    max_bullets: float = Field(default=0.9, ge=0, le=1)
    max_ellipses: float = Field(default=0.3, ge=0, le=1)
    min_with_letter: float = Field(default=0.8, ge=0, le=1)
    min_needed: int = Field(default=2, ge=0, le=8)


def step(options: Options) -> Step:
    """The step `gopher_quality`."""

    def judge(text: str) -> Verdict | None:
        if is_chinese(text):
            return None
        found = _of_words(text, options) or _of_lines(text, options)
        return Verdict("not_prose", found) if found else None

    return Step("gopher_quality", judge=judge)


def _of_words(text: str, options: Options) -> str:
    """What speaks against the words of a text, or ""."""
    words = text.split()
    num = len(words)
    if not options.min_words <= num <= options.max_words:
        bound = f"< {options.min_words}" if num < options.min_words else f"> {options.max_words}"
        return f"words {num} {bound}"
    if not num:
        return ""
    mean = sum(map(len, words)) / num
    if not options.min_mean_word <= mean <= options.max_mean_word:
        bound = f"< {options.min_mean_word}" if mean < options.min_mean_word else f"> {options.max_mean_word}"
        return f"mean word length {mean:.1f} {bound}"
    symbols = (text.count("#") + text.count("...") + text.count("…")) / num
    if symbols > options.max_symbols:
        return f"symbols to words {symbols:.2f} > {options.max_symbols}"
    with_letter = sum(word.isalpha() or _LETTER.search(word) is not None for word in words) / num
    if with_letter < options.min_with_letter:
        return f"words with a letter {with_letter:.2f} < {options.min_with_letter}"
    needed = len(_NEEDED.intersection(text.lower().split()))
    return f"common words {needed} < {options.min_needed}" if needed < options.min_needed else ""


def _of_lines(text: str, options: Options) -> str:
    """What speaks against the lines of a text, or ""."""
    lines = [line.strip() for line in text.split("\n") if line and not line.isspace()]
    bullets = sum(line.startswith(_BULLETS) for line in lines) / max(1, len(lines))
    if bullets > options.max_bullets:
        return f"lines with a bullet {bullets:.2f} > {options.max_bullets}"
    ellipses = sum(line.endswith(_ELLIPSES) for line in lines) / max(1, len(lines))
    return f"lines that end in … {ellipses:.2f} > {options.max_ellipses}" if ellipses > options.max_ellipses else ""
