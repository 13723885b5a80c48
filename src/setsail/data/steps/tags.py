"""A piece of HTML as plain text in the manner of Markdown: paragraphs, "- " for lists, fences for pre, `code`.

What does not live here: whether a text is HTML at all (`html.py`). The invariants: tags that HTML does not have, and
code between fences and backticks, come through; an escaped tag is shown as `code`, never as a tag.

Source: the elements and their display are those of the HTML Living Standard.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import unescape

from setsail.data.steps.prose import pieces_of


def _names(names: str) -> frozenset[str]:
    return frozenset(names.split())


_PARAGRAPHS = _names(
    "address article aside blockquote body center details dl fieldset figure footer form h1 h2 h3 h4 h5 h6 header hr "
    "html main menu nav ol p pre section table ul video"
)
_LINES = _names("br caption dd div dt figcaption legend li option summary tr")
_CELLS = _names("td th")
_INLINE = _names(
    "a abbr acronym audio b bdi bdo big button cite code col colgroup data datalist del dfn em embed font i iframe img "
    "input ins kbd label link map mark meta meter o:p object output param picture progress q rp rt ruby s samp select "
    "small source span strike strong sub sup tbody textarea tfoot thead time title track tt u var wbr"
)
_UNSEEN = _names("head noscript script style svg template")  # what is inside is not for readers
KNOWN = _PARAGRAPHS | _LINES | _CELLS | _INLINE | _UNSEEN

_NAMES = "|".join(sorted(KNOWN, key=lambda name: (-len(name), name)))
# A tag that is talked about is no tag: "<b>" in quotes, or the <br> tag.
TAG = re.compile(
    rf"""<(?!(?<=["'“‘「]<)[^<>]*>["'”’」])"""
    rf"""(?P<closing>/?)(?P<name>{_NAMES})(?=[\s/>])(?P<attributes>(?:[^<>"']|"[^"<]*"|'[^'<]*')*)>"""
    r"""(?![ ]?(?:tags?\b|elements?\b|元素))""",
    re.IGNORECASE,
)
_TAG_OR_CODE = re.compile(rf"{TAG.pattern}|\0(?P<code>[0-9]+)\0", re.IGNORECASE)
_HIDING = re.compile(rf"<!--|<({'|'.join(sorted(_UNSEEN))})(?=[\s>])[^<>]*>")
_LESS, _MORE = "&(?:amp;)*(?:lt|#0*60|#x0*3c);", "&(?:amp;)*(?:gt|#0*62|#x0*3e);"
_ESCAPED_TAG = re.compile(rf"{_LESS}/?(?:{_NAMES})(?=[\s/&])(?:(?!{_LESS}|{_MORE})[^<>\n`])*{_MORE}", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:amp;)*([A-Za-z][A-Za-z0-9]{1,30}|#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6});")
_ALT = re.compile(r"""\balt\s*=\s*(?:"([^"]*)"|'([^']*)')""", re.IGNORECASE)
_PAGE = re.compile(r"\s*(?:<\?xml[^<>]*>\s*|<!--[^<]*-->\s*)*<(?:!doctype\s+html|html)\b", re.IGNORECASE)


def is_page(text: str) -> bool:
    """Whether a text is a whole page: it begins as one."""
    return _PAGE.match(text) is not None


def decoded(text: str) -> str:
    """The text with characters for entities; an escaped tag becomes code, because a tag it is not.

    >>> decoded("Tom &amp; Jerry &lt;3, and &lt;b&gt; for bold")
    'Tom & Jerry <3, and `<b>` for bold'
    """
    if "&" not in text:
        return text
    text = _ESCAPED_TAG.sub(lambda tag: f"`{_ENTITY.sub(_character, tag.group())}`", text)
    return _ENTITY.sub(_character, text)


def _character(entity: re.Match[str]) -> str:
    """The character of an entity, however often its & was escaped; what names none stays."""
    character = unescape(f"&{entity[1]};")
    return entity.group() if character in ("", "\ufffd") or character.startswith("&" + entity[1]) else character


def visible(markup: str) -> str:
    """The mark-up without comments, scripts, styles and whatever else is not for readers.

    What is never closed is not taken out, so that no text is lost behind it.
    """
    kept, place, unclosed = [], 0, set()
    lowered = markup.lower()
    if len(lowered) != len(markup):  # İ becomes two characters: places would not be those of the mark-up
        lowered = markup
    for found in _HIDING.finditer(lowered):
        closing = f"</{found[1]}>" if found[1] else "-->"
        if found.start() < place or closing in unclosed:
            continue
        end = lowered.find(closing, found.end())
        if end < 0:
            unclosed.add(closing)
            continue
        kept.append(markup[place : found.start()])
        place = end + len(closing)
    return "".join([*kept, markup[place:]])


def plain(text: str, *, fenced: bool = True) -> str:
    """The text of a piece of HTML; `fenced`: what stands between fences and backticks is code already.

    >>> plain("<h1>Tea</h1><ul><li>hot<li>sweet</ul>a<br>b<pre>x &lt; 1\\n</pre>")
    'Tea\\n\\n- hot\\n- sweet\\n\\na\\nb\\n\\n```\\nx < 1\\n```'
    """
    pieces = pieces_of(text) if fenced else [text]
    # A mark in the place of each piece of code: NUL is what HTML may not hold.
    prose = [piece.replace("\0", "") for piece in pieces[::2]]
    markup = visible("".join(f"\0{index}\0{piece}" for index, piece in enumerate(prose)))
    page, place = _Page(), 0
    for found in _TAG_OR_CODE.finditer(markup):
        page.add_text(markup[place : found.start()])
        place = found.end()
        if found["code"] is None:
            page.add_tag(found)
        elif found["code"] != "0":
            page.write(pieces[2 * int(found["code"]) - 1])
    page.add_text(markup[place:])
    page.end_code()
    return "".join(page.out).strip("\n").rstrip()


@dataclass
class _Page:
    """What was written so far, the line breaks that are due, and the code that we are inside of."""

    out: list[str] = field(default_factory=list)
    breaks: int = 0
    verbatim: str = ""
    code: list[str] = field(default_factory=list)

    def add_text(self, text: str) -> None:
        """Takes what stands between two tags."""
        self.write(unescape(text) if self.verbatim else decoded(text))

    def write(self, text: str) -> None:
        """Writes text, after the breaks that are due."""
        if self.verbatim:
            self.code.append(text)
            return
        if self.breaks:
            text = text.lstrip(" \t\r\n")
        if not text:
            return
        if self.breaks and self.out:
            self.out.append("\n" * self.breaks)
        self.breaks = 0
        self.out.append(text)

    def break_line(self, num: int) -> None:
        """Makes line breaks due; spaces before them are gone."""
        while self.out and not self.breaks and self.out[-1] != (stripped := self.out[-1].rstrip(" \t\r\n")):
            self.out[-1:] = [stripped] if stripped else []
        self.breaks = max(self.breaks, num)

    def add_tag(self, tag: re.Match[str]) -> None:
        """Does what a tag says."""
        name, closing = tag["name"].lower(), bool(tag["closing"])
        if self.verbatim:
            if closing and name == self.verbatim:
                self.end_code()
        elif name in ("pre", "code") and not closing:
            if name == "pre":
                self.break_line(2)
            self.verbatim = name
        elif name in _PARAGRAPHS:
            self.break_line(2)
        elif name in _LINES:
            self.break_line(1)
            self.write("- " if name == "li" and not closing else "")
        elif name in _CELLS and not closing and self.out and not self.breaks:
            self.write(" | ")
        elif name == "img" and (alt := _ALT.search(tag["attributes"])):
            self.write(unescape(alt[1] or alt[2] or ""))

    def end_code(self) -> None:
        """Writes what stood in `pre` between fences, in `code` between backticks."""
        code, name = "".join(self.code), self.verbatim
        self.code, self.verbatim = [], ""
        if name == "pre" and code.strip():
            fence = "```"
            while fence in code:
                fence += "`"
            body = code.strip("\n").rstrip()
            self.write(f"{fence}\n{body}\n{fence}")
            self.breaks = 2
        elif name == "code" and code.strip():
            self.write(code if "`" in code or "\n" in code else f"`{code}`")
