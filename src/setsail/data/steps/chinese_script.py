"""Chinese in one script, simplified or traditional, by OpenCC's dictionaries of words and characters.

Simplified to traditional is a choice between words (后 is 後 or 皇后's 后), which the dictionaries get right mostly,
not always. Japanese text and code are left alone.
"""

from __future__ import annotations

from typing import Literal

from opencc import OpenCC

from setsail.base.recipe_part import Part
from setsail.data.steps.prose import in_prose, settled
from setsail.data.steps.script import is_japanese, num_han
from setsail.data.steps.step import Step

_TABLES = {"simplified": "t2s", "traditional": "s2t"}


class Options(Part):
    """The script to write in."""

    to: Literal["simplified", "traditional"] = "simplified"


def step(options: Options) -> Step:
    """The step `chinese_script`."""
    converter = OpenCC(_TABLES[options.to])
    change = settled(lambda text: in_prose(text, converter.convert))

    def converted(text: str) -> str:
        han = num_han(text)
        return change(text) if han and not is_japanese(text, han) else text

    return Step("chinese_script", change=converted)
