"""The document as one HTML file that needs nothing else: style and drawings inline, no script, no outside asset.

Every text is escaped where it enters a tag (`_text`); only our own style sheet and drawings stand as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from html import escape
from importlib.resources import files

from setsail.base.page.blocks import (
    Bullets,
    Cell,
    Chapter,
    Code,
    Column,
    Document,
    Exchange,
    Figure,
    Link,
    Part,
    Passage,
    Prose,
    Table,
)

_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")
_KANA = re.compile("[\u3040-\u30ff]")
_HANGUL = re.compile("[\uac00-\ud7af]")
_LATIN = re.compile("[A-Za-z]")

_PAGE = """<!doctype html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title} · {kind}</title>
<style>
{style}</style>
</head>
<body>
<header>
<p class="kind">Setsail <span lang="zh">启航</span> · {kind}</p>
<h1>{title}</h1>
<p class="subtitle">{subtitle}</p>
<p class="created">{created}</p>
<p class="verdict {tone}">{verdict}</p>
<dl class="keys">
{keys}
</dl>
</header>
<nav aria-label="{contents}"><ol>{links}</ol></nav>
<main>
{chapters}
</main>
</body>
</html>
"""


def to_html(page: Document) -> str:
    """The whole report as one HTML text."""
    links = "".join(f'<li><a href="#{chapter.anchor}">{_text(chapter.title)}</a></li>' for chapter in page.chapters)
    return _PAGE.format(
        language=page.language,
        title=_text(page.title),
        kind=_text(page.words["kind"]),
        style=files("setsail.base.page").joinpath("page.css").read_text(encoding="utf-8"),
        subtitle=_text(page.subtitle),
        created=_text(page.words["created"]),
        tone=page.tone,
        verdict=_text(page.verdict),
        keys="\n".join(
            f'<div><dt>{_text(key.label)}</dt><dd class="{key.tone}">{_text(key.text)}{_small(key.note)}</dd></div>'
            for key in page.key_figures
        ),
        contents=_text(page.words["contents"]),
        links=links,
        chapters="\n".join(_chapter(chapter) for chapter in page.chapters),
    )


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


def _text(text: str) -> str:
    return escape(text, quote=True)


def _small(note: str) -> str:
    return f"<small>{_text(note)}</small>" if note else ""


def _chapter(chapter: Chapter) -> str:
    blocks = "\n".join(_WRITERS[block.shape](block) for block in chapter.blocks)
    return f'<section class="chapter" id="{chapter.anchor}">\n<h2>{_text(chapter.title)}</h2>\n{blocks}\n</section>'


def _table(table: Table) -> str:
    caption = f"<figcaption>{_text(table.caption)}</figcaption>" if table.caption else ""
    heads = "".join(f'<th scope="col" class="{column.kind}">{_text(column.title)}</th>' for column in table.columns)
    rows, above = [], None
    for row in table.rows:
        starts = row[0].text != above
        above = row[0].text
        cells = "".join(_cell(cell, column) for cell, column in zip(row[1:], table.columns[1:], strict=True))
        opened = '<tr class="first">' if starts else "<tr>"
        rows.append(f"{opened}{_row_head(row[0], table.columns[0], starts)}{cells}</tr>")
    lines = ["<table>", f"<thead><tr>{heads}</tr></thead>", "<tbody>", *rows, "</tbody></table>"]
    inner = "\n".join(lines)
    return f'<figure class="table">{caption}<div class="scroll">{inner}</div></figure>'


def _row_head(cell: Cell, column: Column, starts: bool) -> str:
    """The first cell of a row; repeated ones are kept for screen readers only."""
    text = _text(cell.text) if starts else f'<span class="again">{_text(cell.text)}</span>'
    return f'<th scope="row" class="{column.kind}">{text}</th>'


def _cell(cell: Cell, column: Column) -> str:
    text = f"<code>{_text(cell.text)}</code>" if column.kind == "code" else _text(cell.text)
    return f'<td class="{column.kind} {cell.tone}">{cell.figure}{text}</td>'


def _prose(prose: Prose) -> str:
    return f'<p class="finding {prose.tone}">{_text(prose.text)}</p>' if prose.tone else f"<p>{_text(prose.text)}</p>"


def _bullets(bullets: Bullets) -> str:
    return f"<ul>{''.join(f'<li>{_text(item)}</li>' for item in bullets.items)}</ul>"


def _figure(figure: Figure) -> str:
    return f"<figure>{figure.svg}<figcaption>{_text(figure.caption)}</figcaption></figure>"


def _passage(passage: Passage) -> str:
    whole = "".join(text for text, _ in passage.runs)
    runs = "".join(f"<mark>{_text(text)}</mark>" if learned else _text(text) for text, learned in passage.runs)
    title = _text(passage.title)
    # HTML drops a line break right after <pre>; one more keeps a row that begins with its own.
    body = f'<pre lang="{language_of(whole)}">\n{runs}</pre>'
    return f'<figure class="passage"><figcaption>{title}</figcaption>{body}</figure>'


def _exchange(exchange: Exchange) -> str:
    parts = "\n".join(_part(part) for part in exchange.parts)
    return f'<section class="exchange"><h3>{_text(exchange.title)}</h3>\n<dl>\n{parts}\n</dl></section>'


def _part(part: Part) -> str:
    label = f"<dt>{_text(part.label)}{_small(part.note)}</dt>"
    return f'<div class="{part.kind}">{label}<dd lang="{language_of(part.text)}">{_text(part.text)}</dd></div>'


def _code(code: Code) -> str:
    return f'<pre class="code">\n<code>{_text(code.text)}</code></pre>'


def _link(link: Link) -> str:
    return f'<p><a href="{_text(link.file)}">{_text(link.text)}</a></p>'


_WRITERS: Mapping[str, Callable[..., str]] = {
    "table": _table,
    "prose": _prose,
    "bullets": _bullets,
    "figure": _figure,
    "passage": _passage,
    "exchange": _exchange,
    "code": _code,
    "link": _link,
}
