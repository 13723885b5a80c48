"""HTML as text: its tags gone, its paragraphs, lists and code kept, its entities as characters.

A text is taken for HTML by the names of HTML's own tags in its prose, and only where one of them is sure: it is closed
again, has an attribute, or breaks a line. What is mark-up on purpose stays: code between fences and backticks, `a < b`,
List<int>, a tag that is only mentioned, XML and JSX (a tag is closed that HTML does not have), program code, and any
text that speaks of HTML by name. What becomes of a text: `tags.py`. With `pages`, a whole page first becomes its main
text; without, whole pages stay, because in a conversation a page may be the very answer.

Not proved, and why no preset for conversations has it: an answer that is bare HTML with no word about it cannot be told
from a ticket that was exported as HTML.
"""

from __future__ import annotations

import re

from resiliparse.extract.html2text import extract_plain_text

from setsail.base.recipe_part import Part
from setsail.data.steps.prose import in_prose, pieces_of, settled
from setsail.data.steps.step import Step
from setsail.data.steps.tags import KNOWN, TAG, decoded, is_page, plain, visible

_SURE_ALONE = {"br", "hr"}
_CLOSED = re.compile(r"</([A-Za-z][\w:.-]*)[ \t]*>")
_SPEAKS_OF_MARKUP = re.compile(r"\bX?HTML5?\b|\bmark-?up\b|标签|标记语言", re.IGNORECASE)
# Lines that only a program has, where they are not the inside of a script or style.
_PROGRAM = re.compile(
    r"""^[ \t]*(?:
      (?:import|from|package|using|namespace)\s[\w.{}*"', ]+(?:;|$)
    | (?:def|function|func|fn)\s+\w+\s*\(
    | (?:const|let|var|val|public|private|static|final)\s+\w[^\n]*[={(]
    | (?:return|echo|print|printf|console\.log|document\.write)\s*[(<"'`]
    | class\s\w+[^\n]*[:{]$
    | \#include\b | <\?(?:php|xml)\b | @\w+(?:\([^\n]*\))?$
    | [\w.$\[\]]+\s*[-+]?=\s*(?:["'`<({\[]|[\w.]+\()
    )""",
    re.MULTILINE | re.VERBOSE,
)
_INDENTED = re.compile(r"^(?: {4}|\t)[^\n]*$", re.MULTILINE)


class Options(Part):
    """`pages` turns whole pages into their main text; without it they stay as they are."""

    pages: bool = False


def step(options: Options) -> Step:
    """The step `html`."""
    change = settled(lambda text: as_text(text, pages=options.pages))
    return Step("html", change=lambda text: change(text) if _may_hold_some(text) else text)


def as_text(text: str, *, pages: bool) -> str:
    """What a reader would see of a text that may be HTML.

    >>> as_text("<p>Tea &amp; <b>cake</b></p>", pages=False)
    'Tea & cake'
    >>> as_text("a List<int> where x < 3", pages=False)
    'a List<int> where x < 3'
    """
    if is_page(text):
        return plain(main_text(text), fenced=False) if pages else text
    if _is_html(text):
        return plain(text)
    if "&" not in text or _SPEAKS_OF_MARKUP.search(text) or _PROGRAM.search(text):
        return text
    return in_prose(text, decoded)


def main_text(page: str) -> str:
    """The main part of a page as simple HTML; the whole page where no part of it stands out."""
    main = extract_plain_text(page, main_content=True, preserve_formatting="minimal_html")
    return main if main.strip() else extract_plain_text(page, preserve_formatting="minimal_html")


def _may_hold_some(text: str) -> bool:
    return ("<" in text and ">" in text) or ("&" in text and ";" in text)


def _is_html(text: str) -> bool:
    if not TAG.search(text):
        return False
    prose = _INDENTED.sub("", "\n".join(pieces_of(text)[::2]))
    if not _has_sure_tag(prose) or _SPEAKS_OF_MARKUP.search(text):
        return False
    seen = visible(prose)
    return {name.lower() for name in _CLOSED.findall(seen)} <= KNOWN and not _PROGRAM.search(seen)


def _has_sure_tag(prose: str) -> bool:
    opened: set[str] = set()
    for tag in TAG.finditer(prose):
        closing, name, attributes = tag["closing"], tag["name"].lower(), tag["attributes"]
        if (closing and name in opened) or "=" in attributes or name in _SURE_ALONE:
            return True
        if not closing:
            opened.add(name)
    return False
