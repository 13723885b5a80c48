"""The text of pdf and docx files: one document is one record.

Both need the extra `documents`. What does not live here: reading what is only an image (a scan), finding tables on a
page, and a Word document's headers, footers, notes and comments. The invariant: every page of a pdf is in its record or
is a drop of its own.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

from setsail.base.errors import DataError
from setsail.data.readers.apart import read_apart
from setsail.data.row import Drop, Record, drop_at


def read_pdf(data: bytes, place: str, *, encoding: str = "auto") -> Iterator[Record | Drop]:
    """The document, with the pages it was read from as its origin: "contract.pdf:1-12".

    Raises:
        DataError: it is broken, locked or hostile; the extra is not installed.
    """
    _require("pypdf", place)
    title, texts, empty = "", [], []
    numbers: list[int] = []
    for page in read_apart("pages", data, place):
        title = page.get("title", title)
        if page["text"].strip():
            texts.append(page["text"].strip())
            numbers.append(page["page"])
        elif page["page"]:
            why = page["why"] or "blank, or a scan, which has to go through text recognition (OCR) first"
            empty.append(drop_at(f"{place}:{page['page']}", "page_without_text", why))
    if texts:
        span = f"{numbers[0]}-{numbers[-1]}" if len(numbers) > 1 else f"{numbers[0]}"
        yield Record(f"{place}:{span}", {"text": "\n\n".join(texts), "title": title})
    yield from empty


def read_docx(data: bytes, place: str, *, encoding: str = "auto") -> Iterator[Record]:
    """The document, with origin "manual.docx:1".

    Raises:
        DataError: it is broken or hostile; the extra is not installed.
    """
    _require("docx", place)
    (document,) = read_apart("paragraphs", data, place)
    yield Record(f"{place}:1", document)


def _require(library: str, place: str) -> None:
    if importlib.util.find_spec(library) is None:
        words = f"the library that reads such files is not installed: {library}"
        raise DataError(words, place=place, hint="pip install 'setsail[documents]'")
