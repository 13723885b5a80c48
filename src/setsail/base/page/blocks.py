"""What a chapter is built from: a handful of shapes that both HTML and Markdown can set.

A block holds finished text (figures already written out) and nothing of either format; only `Cell.figure` and
`Figure.svg` are markup, drawn by `drawing.py` from numbers. `shape` is the name by which a writer is chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Tone = Literal["", "good", "bad", "open", "quiet"]


@dataclass(frozen=True)
class Cell:
    """A table cell: text, its tone, and a small drawing beside the text in HTML."""

    text: str
    tone: Tone = ""
    figure: str = ""


@dataclass(frozen=True)
class Column:
    """A table column; figures are set right with even digits, `text` left, `code` in the fixed face."""

    title: str
    kind: Literal["text", "number", "code", "figure"] = "text"


@dataclass(frozen=True)
class Table:
    """Rows of cells under titles; a column of kind `figure` exists only in HTML. Consecutive rows with an equal first
    cell are set as one group."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    shape: str = "table"


@dataclass(frozen=True)
class Prose:
    """A paragraph."""

    text: str
    tone: Tone = ""
    shape: str = "prose"


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    items: tuple[str, ...]
    shape: str = "bullets"


@dataclass(frozen=True)
class Figure:
    """A drawing with its caption; in Markdown the caption alone."""

    svg: str
    caption: str
    shape: str = "figure"


@dataclass(frozen=True)
class Passage:
    """A row as the model sees it: stretches of text, marked where the model learns them."""

    title: str
    runs: tuple[tuple[str, bool], ...]
    shape: str = "passage"


@dataclass(frozen=True)
class Part:
    """One voice of an exchange: who, what was said, and a note such as its score."""

    label: str
    text: str
    note: str = ""
    kind: Literal["question", "reference", "answer"] = "answer"


@dataclass(frozen=True)
class Exchange:
    """A question, its reference and the answers to it."""

    title: str
    parts: tuple[Part, ...]
    shape: str = "exchange"


@dataclass(frozen=True)
class Code:
    """Text to type or a file's content."""

    text: str
    language: str = ""
    shape: str = "code"


@dataclass(frozen=True)
class Link:
    """A way to a page that lies in the same folder."""

    text: str
    file: str
    shape: str = "link"


Block = Table | Prose | Bullets | Figure | Passage | Exchange | Code | Link


@dataclass(frozen=True)
class Chapter:
    """A titled run of blocks; `anchor` is its place in the page."""

    anchor: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class KeyFigure:
    """One of the few figures at the head of the page."""

    label: str
    text: str
    note: str = ""
    tone: Tone = ""


@dataclass(frozen=True)
class Document:
    """The whole page: its head, what it comes to, its chapters, and the words that frame them."""

    language: str
    title: str
    subtitle: str
    verdict: str
    tone: Tone
    key_figures: tuple[KeyFigure, ...]
    chapters: tuple[Chapter, ...]
    words: Mapping[str, str]
