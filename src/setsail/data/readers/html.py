"""A web page as one record: its visible `text`, its `title`, and the page itself as `html`.

What does not live here: telling the article from the menu around it, which is a matter of cleaning. The invariant: one
page is one record.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLTree

from setsail.base.errors import DataError
from setsail.data import encoding as encodings
from setsail.data.row import Record

# Where a page's own statement of its encoding has to stand. Source: HTML Living Standard, 4.2.5.4.
_FIRST_BYTES = 1024
_STATED = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w-]{2,40})""", re.IGNORECASE)


def read(data: bytes, place: str, *, encoding: str = "auto") -> Iterator[Record]:
    """The page, with origin "page.html:1".

    Raises:
        DataError: it is in no encoding that can be told.
    """
    decoded = encodings.decode(data, encoding=_stated(data) if encoding == "auto" else encoding, place=place)
    title, text = title_and_text(decoded.text)
    fields = {"text": text, "title": title, "html": decoded.text, "encoding": decoded.encoding}
    yield Record(f"{place}:1", fields)


def title_and_text(page: str) -> tuple[str, str]:
    """A page's title, and its text as it is read from top to bottom: a line for each block."""
    # Half pairs and escaped bytes have no place in a parser of UTF-8; as text they are found in `html`.
    tree = HTMLTree.parse(page.encode("utf-8", "replace").decode("utf-8"))
    text = extract_plain_text(tree, preserve_formatting=True, main_content=False)
    return " ".join((tree.title or "").split()), text.strip()


def _stated(data: bytes) -> str:
    """The encoding that the page says it is in, where its bytes bear that out; else auto."""
    found = _STATED.search(data[:_FIRST_BYTES])
    if not found:
        return "auto"
    try:
        name = encodings.widest(found[1].decode("ascii"))
        return name if not encodings.decode(data, encoding=name).num_invalid_bytes else "auto"
    except DataError:
        return "auto"
