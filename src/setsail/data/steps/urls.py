"""Web addresses in prose: kept, masked as [URL], or removed. Addresses in code are part of the code and stay.

An address ends before Chinese, which in Chinese text follows it without a space; the rest of an address that is itself
written in Chinese is therefore left standing.
"""

from __future__ import annotations

import re
from typing import Literal

from setsail.base.recipe_part import Part
from setsail.data.steps.prose import in_prose, settled
from setsail.data.steps.step import Step

MASK = "[URL]"

_URL = re.compile(
    r"(?:\b(?:https?|ftp)://|\bwww\.(?=[\w-]+\.))[\w\-.~:/?#@!$&'()*+,;=%\[\]|]+", re.IGNORECASE | re.ASCII
)
_AFTER = ".,;:!?'*"


class Options(Part):
    """What becomes of a web address."""

    action: Literal["keep", "mask", "remove"] = "mask"


def step(options: Options) -> Step:
    """The step `urls`."""
    if options.action == "keep":
        return Step("urls", change=lambda text: text)
    instead = MASK if options.action == "mask" else ""
    change = settled(lambda text: in_prose(text, lambda prose: replaced(prose, instead)))
    return Step("urls", change=lambda text: change(text) if _may_hold_one(text) else text)


def replaced(text: str, instead: str) -> str:
    """The text with something else for each web address; what ends the sentence is not part of an address.

    >>> replaced("see https://a.org/x_(y), or www.b.cn。", "[URL]")
    'see [URL], or [URL]。'
    """
    return _URL.sub(lambda found: instead + _behind(found.group()), text)


def _may_hold_one(text: str) -> bool:
    return "://" in text or "www." in text or "WWW." in text


def _behind(url: str) -> str:
    """What stands at the end of a match and belongs to the sentence: its marks, a bracket that was opened before."""
    end = len(url)
    while end and (url[end - 1] in _AFTER or _closes_another(url, end)):
        end -= 1
    return url[end:]


def _closes_another(url: str, end: int) -> bool:
    opened = {")": "(", "]": "["}.get(url[end - 1])
    return opened is not None and url.count(opened, 0, end) < url.count(url[end - 1], 0, end)
