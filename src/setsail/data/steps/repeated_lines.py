"""Lines that a page repeats, and lines that every page has: headers, cookie notices, copyright, navigation.

A line of 30 characters or more (15 in Chinese) that stands in a text a third time is left out from there on; shorter
ones may be a refrain or a table and stay. Code, tables and lists of code are never touched. A short line that is
nothing but boilerplate is left out wherever it stands. Whole texts that are bad are for the judges.
"""

from __future__ import annotations

import re
from collections import Counter

from pydantic import Field

from setsail.base.recipe_part import Part
from setsail.data.steps.prose import Change, fenced_pieces_of, settled
from setsail.data.steps.script import num_han
from setsail.data.steps.step import Step

_LONG_ENOUGH, _LONG_ENOUGH_CHINESE = 30, 15
_BLANK_RUNS = re.compile(r"\n(?:[ \t]*\n){2,}")

# Whole lines, with nothing of the page's own in them.
_BOILERPLATE = re.compile(
    r"""^[ \t]*(?:
      (?:we|this\s(?:web)?site|our\s(?:web)?site)\suses?\scookies\b[^\n]{0,200}
    | (?:accept|reject|manage)\s(?:all\s)?cookies
    | (?:copyright\s)?(?:©|\(c\))\s?(?:copyright\s)?[\d\s,–-]{4,12}[^\n]{0,80}
    | all\srights\sreserved\.?
    | (?:skip|jump)\sto\s(?:main\s)?content
    | back\sto\stop
    | (?:share|tweet)\s(?:this|on)\s[^\n]{0,40}
    | please\senable\sjavascript\b[^\n]{0,120}
    | (?:privacy\spolicy|terms\sof\s(?:use|service))(?:\s*[|·•]\s*[^\n]{0,60})?
    | (?:home|首页)(?:\s*[|>›»/·]\s*[^\n|>›»/·]{1,20}){1,8}
    | (?:版权所有|著作权所有)[^\n]{0,60}
    | [^\n]{0,20}(?:ICP备|ICP证|公网安备)[^\n]{0,40}
    | (?:上一篇|下一篇|上一页|下一页|返回顶部|返回首页|加入收藏|设为首页|分享到)(?:[:：\s|][^\n]{0,60})?
    | (?:责任编辑|编辑)[:：][^\n]{0,20}
    | (?:本站|我们|本网站)使用\s?cookies?[^\n]{0,80}
    )[ \t]*(?:\n|\Z)""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_SIGNS = (
    *("cookie", "©", "(c)", "rights reserved", "to content", "to main content", "back to top", "share ", "tweet "),
    *("javascript", "privacy policy", "terms of", "home", "首页", "所有", "icp", "公网", "一篇", "一页", "返回顶部"),
    *("加入收藏", "分享到", "编辑"),
)


class Options(Part):
    """How often a long line may stand in a text, and whether boilerplate is left out."""

    times: int = Field(default=2, ge=1)
    boilerplate: bool = True


def step(options: Options) -> Step:
    """The step `repeated_lines`."""

    def change(text: str) -> str:
        return without_repeats(without_boilerplate(text) if options.boilerplate else text, options.times)

    return Step("repeated_lines", change=settled(change))


def without_boilerplate(text: str) -> str:
    """The text without the lines that say nothing of its own.

    >>> without_boilerplate("Tea is hot.\\nAccept all cookies\\n© 2024 Tea Ltd. All rights reserved.")
    'Tea is hot.'
    """
    lowered = text.lower()
    if not any(sign in lowered for sign in _SIGNS):
        return text
    return _in_lines(text, lambda prose: _BOILERPLATE.sub("", prose))


def without_repeats(text: str, times: int) -> str:
    """The text with each long line of its prose no more often than so many times."""
    lines = text.split("\n")
    if len(set(lines)) == len(lines):
        return text
    seen: Counter[str] = Counter()
    return _in_lines(text, lambda prose: "\n".join(_first_ones(prose.split("\n"), seen, times)))


def _in_lines(text: str, change: Change) -> str:
    """The text with its prose changed and no gaps where lines were; fenced code is as it was."""
    pieces = fenced_pieces_of(text)
    for index in range(0, len(pieces), 2):
        shorter = change(pieces[index])
        pieces[index] = pieces[index] if shorter == pieces[index] else _BLANK_RUNS.sub("\n\n", shorter)
    after = "".join(pieces)
    return text if after == text else after.strip("\n")


def _first_ones(lines: list[str], seen: Counter[str], times: int) -> list[str]:
    kept = []
    for line in lines:
        key = line.strip()
        if _is_long(key) and not line.startswith(("    ", "\t", "|")):
            seen[key] += 1
            if seen[key] > times:
                continue
        kept.append(line)
    return kept


def _is_long(line: str) -> bool:
    return len(line) >= _LONG_ENOUGH or (len(line) >= _LONG_ENOUGH_CHINESE and 2 * num_han(line) >= len(line))
