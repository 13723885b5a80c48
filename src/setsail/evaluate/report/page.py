"""The document as one HTML file that needs nothing else: style and drawings inline, no script, no outside asset.

Every text is escaped by the template; only our own style sheet and drawings enter as markup.
"""

from __future__ import annotations

import re
from importlib.resources import files

from jinja2 import FunctionLoader, StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from setsail.evaluate.report.blocks import Document, Table

_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")
_KANA = re.compile("[\u3040-\u30ff]")
_HANGUL = re.compile("[\uac00-\ud7af]")
_LATIN = re.compile("[A-Za-z]")


def to_html(page: Document) -> str:
    """The whole report as one HTML text."""
    environment = ImmutableSandboxedEnvironment(
        loader=FunctionLoader(_read), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"drawn": Markup, "lang_of": language_of, "starts_group": _starts_group}
    return environment.get_template("page.html").render(page=page, style=Markup(_read("page.css")))


def language_of(text: str) -> str:
    """The lang attribute of a text from data, told by its script; "" when the script does not tell.

    >>> language_of("什么是 dot?"), language_of("What is dot?"), language_of("42")
    ('zh', 'en', '')
    """
    if _KANA.search(text):
        return "ja"
    if _HANGUL.search(text):
        return "ko"
    if _HAN.search(text):
        return "zh"
    return "en" if _LATIN.search(text) else ""


def _starts_group(table: Table, index: int) -> bool:
    """Whether a row's first cell differs from the one above, so that it is written out."""
    return index == 0 or table.rows[index][0].text != table.rows[index - 1][0].text


def _read(name: str) -> str:
    return files("setsail.evaluate.report").joinpath(name).read_text(encoding="utf-8")
