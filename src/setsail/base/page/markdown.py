"""The document as Markdown (CommonMark with tables): the same text and figures as the page, without its drawings.

Text from data stands in fenced code, or escaped, so that it can neither format nor script whatever shows the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from setsail.base.page.blocks import (
    Bullets,
    Code,
    Document,
    Exchange,
    Figure,
    Link,
    Passage,
    Prose,
    Table,
)

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|~#])")
# Around what the model learns; brackets that no programming language uses.
_OPEN, _CLOSE = "⟦", "⟧"


def to_markdown(page: Document) -> str:
    """The whole report as one Markdown text."""
    parts = [f"# {_plain(page.title)}"]
    parts += [_plain(text) for text in (page.subtitle, page.words["created"]) if text]
    parts.append(f"**{_plain(page.verdict)}**")
    figures = [
        f"{figure.label}: {figure.text}" + (f" ({figure.note})" if figure.note else "") for figure in page.key_figures
    ]
    parts.append("\n".join(f"- {_plain(figure)}" for figure in figures))
    for chapter in page.chapters:
        parts.append(f"## {_plain(chapter.title)}")
        parts += [_WRITERS[block.shape](block) for block in chapter.blocks]
    return "\n\n".join(part for part in parts if part) + "\n"


def fenced(text: str, language: str = "") -> str:
    """Text in a fence longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _plain(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", " ".join(text.split())).replace("&", "&amp;")


def _table(table: Table) -> str:
    shown = [index for index, column in enumerate(table.columns) if column.kind != "figure"]
    heads = [_plain(table.columns[index].title) or " " for index in shown]
    rules = ["---:" if table.columns[index].kind == "number" else "---" for index in shown]
    rows = [[_plain(row[index].text) for index in shown] for row in table.rows]
    lines = [f"| {' | '.join(cells)} |" for cells in (heads, rules, *rows)]
    return (f"{_plain(table.caption)}\n\n" if table.caption else "") + "\n".join(lines)


def _prose(prose: Prose) -> str:
    return f"**{_plain(prose.text)}**" if prose.tone else _plain(prose.text)


def _bullets(bullets: Bullets) -> str:
    return "\n".join(f"- {_plain(item)}" for item in bullets.items)


def _figure(figure: Figure) -> str:
    return ""


def _passage(passage: Passage) -> str:
    text = "".join(f"{_OPEN}{run}{_CLOSE}" if learned else run for run, learned in passage.runs)
    return f"{_plain(passage.title)}\n\n{fenced(text)}"


def _exchange(exchange: Exchange) -> str:
    parts = [f"### {_plain(exchange.title)}"]
    for part in exchange.parts:
        note = f" ({part.note})" if part.note else ""
        parts += [_plain(part.label + note), fenced(part.text)]
    return "\n\n".join(parts)


def _code(code: Code) -> str:
    return fenced(code.text, code.language)


def _link(link: Link) -> str:
    return f"[{_plain(link.text)}](<{link.file}>)"


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
