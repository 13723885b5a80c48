"""Punctuation made uniform, each script after its own custom, in prose alone.

English: straight quotes, three dots, plain hyphens. Chinese: its own quotes stay, commas and stops between Chinese
characters are full-width, an ellipsis is ……. Both: a mark repeated more than three times stands three times. Dashes
that mean something (– and —), and minus signs, stay.
"""

from __future__ import annotations

import re

from setsail.base.recipe_part import Part
from setsail.data.steps.prose import in_prose, settled
from setsail.data.steps.script import HAN, is_chinese
from setsail.data.steps.step import Step

_EITHER = (("\u2010", "-"), ("\u2011", "-"), ("\u2015", "\u2014"))
_ENGLISH = (*_EITHER, ("“", '"'), ("”", '"'), ("„", '"'), ("‟", '"'), ("‘", "'"), ("’", "'"), ("‛", "'"))
_REPEATED = re.compile(r"([!?！？，、；~～])\1{3,}")
_DOTS = re.compile(r"…+|\.{4,}")
_CHINESE_DOTS = re.compile(rf"(?<=[{HAN}])(?:\.{{3,}}|…+|。{{3,}})|。{{3,}}|…+(?=[{HAN}])")
_CHINESE_MARKS = re.compile(rf"(?<=[{HAN}])[,;:?!](?=[{HAN}])")
_WIDE = str.maketrans(",;:?!", "，；：？！")
_REPEATED_ASCII = ("!!!!", "????", "~~~~", "....")


class Options(Part):
    """Nothing to set."""


def step(options: Options) -> Step:
    """The step `punctuation`."""
    change = settled(uniform)
    return Step("punctuation", change=lambda text: text if _is_plain(text) else change(text))


def _is_plain(text: str) -> bool:
    return text.isascii() and not any(marks in text for marks in _REPEATED_ASCII)


def uniform(text: str) -> str:
    """The text with the punctuation of its script.

    >>> uniform("“Don’t”, she said……!!!!!")
    '"Don\\'t", she said...!!!'
    >>> uniform("好的,马上到...“谢谢”！！！！！")
    '好的，马上到……“谢谢”！！！'
    """
    return in_prose(text, _chinese if is_chinese(text) else _english)


def _english(prose: str) -> str:
    prose = _DOTS.sub("...", _replaced(prose, _ENGLISH))
    return _REPEATED.sub(r"\1\1\1", prose)


def _chinese(prose: str) -> str:
    prose = _CHINESE_DOTS.sub("……", _replaced(prose, _EITHER))
    prose = _CHINESE_MARKS.sub(lambda mark: mark.group().translate(_WIDE), prose)
    return _REPEATED.sub(r"\1\1\1", prose)


def _replaced(prose: str, pairs: tuple[tuple[str, str], ...]) -> str:
    for old, new in pairs:
        prose = prose.replace(old, new)
    return prose
