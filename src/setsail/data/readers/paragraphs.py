"""The text of a Word document, made in the child process of `apart.py`.

What does not live here: what the text becomes (`documents.py`), which runs in the parent.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import docx


def values(data: bytes) -> Iterator[Any]:
    """The document's text and title."""
    document = docx.Document(io.BytesIO(data))
    blocks = [_text(block) for block in document.iter_inner_content()]
    text = "\n".join(block for block in blocks if block.strip())
    yield {"text": text, "title": document.core_properties.title or ""}


def _text(block: Any) -> str:
    """A paragraph's text, or a table's lines with a tab between cells; a merged cell is told once."""
    if not hasattr(block, "rows"):
        return block.text
    lines = []
    for row in block.rows:
        cells = list({id(cell._tc): cell.text for cell in row.cells}.values())
        lines.append("\t".join(" ".join(cell.split()) for cell in cells))
    return "\n".join(lines)
