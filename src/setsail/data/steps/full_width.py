"""Full-width letters and digits (Ａ１) as plain ones, in prose; Chinese punctuation stays Chinese unless asked."""

from __future__ import annotations

import re

from setsail.base.recipe_part import Part
from setsail.data.steps.prose import in_prose, settled
from setsail.data.steps.step import Step

_LETTERS = re.compile("[０-９Ａ-Ｚａ-ｚ]+")
_ALL = re.compile("[\uff01-\uff5e\u3000]+")
_TO_HALF = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}


class Options(Part):
    """`punctuation` also makes ，！（） and the ideographic space half-width, as some English text needs."""

    punctuation: bool = False


def step(options: Options) -> Step:
    """The step `full_width`."""
    wide = _ALL if options.punctuation else _LETTERS
    change = settled(lambda text: in_prose(text, lambda prose: _narrowed(prose, wide)))
    return Step("full_width", change=lambda text: change(text) if not text.isascii() and wide.search(text) else text)


def _narrowed(text: str, wide: re.Pattern[str]) -> str:
    return wide.sub(lambda run: run.group().translate(_TO_HALF), text)
