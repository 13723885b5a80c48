"""Marks texts that insult or threaten somebody, by a short open list; drops them only when told to.

The list is our own: plain insults, threats and curses against a person, in English and Chinese, each a phrase that is
hardly said in kindness. Its limits: it knows no irony and no quotation, it misses whatever is spelled otherwise or said
politely, and it holds no slur against any group, on purpose, because lists of them silence the people that they name
more than those that hate them (Dodge et al. 2021, arXiv 2104.08758, on C4's list). `words` adds your own. A classifier
does better; a mark says where to look.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import Annotated

from pydantic import Field

from setsail.base.recipe_part import Part
from setsail.data.steps.step import Step, Verdict

MARK = "toxic"

_ENGLISH = (
    *("fuck you", "fuck off", "go fuck yourself", "piece of shit", "kill yourself", "kys", "asshole", "arsehole"),
    *("dickhead", "motherfucker", "bastard", "son of a bitch", "bitch", "scumbag", "dumbass", "shithead", "wanker"),
    *("drop dead", "go to hell", "i will kill you", "i'll kill you", "hope you die", "you deserve to die"),
    *("you idiot", "you moron", "shut the fuck up", "stfu"),
)
_CHINESE = (
    *(
        "傻逼",
        "傻屄",
        "煞笔",
        "操你",
        "草泥马",
        "他妈的",
        "你妈的",
        "去你妈",
        "妈了个",
        "滚你妈",
        "王八蛋",
        "狗东西",
        "狗杂种",
    ),
    *("贱人", "婊子", "畜生", "混账东西", "去死吧", "你去死", "不得好死", "死全家", "弄死你", "杀了你", "脑残", "人渣"),
)
_LONGEST_WORD, _MOST_WORDS = 60, 10_000


class Options(Part):
    """How many hits make a text toxic, whether it is dropped, and words of your own beside ours."""

    min_hits: int = Field(default=1, ge=1)
    drop: bool = False
    words: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=_LONGEST_WORD)], ...], Field(max_length=_MOST_WORDS)
    ] = ()


def step(options: Options) -> Step:
    """The step `toxicity`."""
    words = tuple(word.lower().strip() for word in (*_ENGLISH, *_CHINESE, *options.words))
    pattern = _pattern(words)

    def num_hits(text: str) -> int:
        lowered = text.lower().replace("’", "'")
        if not any(word in lowered for word in words):
            return 0
        return sum(1 for _ in islice(pattern.finditer(lowered), options.min_hits))

    def mark(text: str) -> str:
        return MARK if num_hits(text) >= options.min_hits else ""

    def judge(text: str) -> Verdict | None:
        return Verdict("toxic", f"hits {options.min_hits} or more") if mark(text) else None

    return Step("toxicity", judge=judge) if options.drop else Step("toxicity", mark=mark)


def _pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    """All words in one pattern; those of Latin letters only as whole words."""
    ordered = sorted(set(words), key=lambda word: (-len(word), word))
    whole = "|".join(re.escape(word) for word in ordered if word.isascii())
    inside = "|".join(re.escape(word) for word in ordered if not word.isascii())
    return re.compile(rf"(?<![a-z0-9_])(?:{whole})(?![a-z0-9_])|{inside}")
