"""Whether a page has enough whole sentences, by the rules of C4, read in English and Chinese.

C4 leaves out lines and then drops a page with too few sentences; here nothing is left out, and the sentences are
counted in the lines that C4 would keep: those that end in a stop, have three words or more, and name neither JavaScript
nor a policy. A page with "lorem ipsum" or a curly bracket is dropped at once, the latter unless `curly_brackets` allows
it, as a corpus with code needs. C4's list of bad words is not used: it drops whole groups of people with their words.

Source: Raffel et al. 2020 (arXiv 1910.10683), section 2.2. That Chinese stops count, and Chinese characters as words,
is ours.
"""

from __future__ import annotations

import re

from pydantic import Field

from setsail.base.recipe_part import Part
from setsail.data.steps.script import num_words
from setsail.data.steps.step import Step, Verdict

_STOPS = (".", "!", "?", '"', "”", "。", "！", "？", "」", "…")
_NOT_WHOLE = ("...", "…")
_SENTENCE_END = re.compile(r"""[.!?]+["'”’)]*(?=\s|\Z)|[。！？…]+["'”’」）]*""")
_POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
_POLICIES_CHINESE = ("隐私政策", "使用条款", "使用cookie", "使用 cookie")


class Options(Part):
    """How many sentences a page needs, and how many words a line of them."""

    min_sentences: int = Field(default=5, ge=0)
    min_words: int = Field(default=3, ge=0)
    curly_brackets: bool = False


def step(options: Options) -> Step:
    """The step `c4_quality`."""

    def judge(text: str) -> Verdict | None:
        if not options.curly_brackets and "{" in text:
            return Verdict("not_a_page", 'holds "{"')
        lowered = text.lower()
        if "lorem ipsum" in lowered:
            return Verdict("not_a_page", 'holds "lorem ipsum"')
        sentences = sum(num_sentences(line) for line in lowered.split("\n") if _is_kept(line, options.min_words))
        if sentences < options.min_sentences:
            return Verdict("not_a_page", f"sentences {sentences} < {options.min_sentences}")
        return None

    return Step("c4_quality", judge=judge)


def num_sentences(line: str) -> int:
    """How many sentences a line has that ends in a stop.

    >>> num_sentences("One. Two 3.5 times! 三。四？")
    4
    """
    return max(1, len(_SENTENCE_END.findall(line)))


def _is_kept(line: str, min_words: int) -> bool:
    """Whether C4 keeps a line."""
    line = line.strip()
    if not line.endswith(_STOPS) or (line.endswith(_NOT_WHOLE) and not line.endswith("……")):
        return False
    if "javascript" in line or any(policy in line for policy in (*_POLICIES, *_POLICIES_CHINESE)):
        return False
    return num_words(line) >= min_words
