"""The pages of a pdf as text, made in the child process of `apart.py`.

What does not live here: what becomes of a page without text (`documents.py`), which runs in the parent.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pypdf
import pypdf.errors

from setsail.data.readers.apart import Unreadable


def values(data: bytes) -> Iterator[Any]:
    """The title, then each page's number and text, or why it has none.

    Raises:
        Unreadable: a pdf with a password.
    """
    reader = pypdf.PdfReader(io.BytesIO(data))
    if reader.is_encrypted and not _opens_without(reader):
        raise Unreadable("the pdf has a password", "save it without one")
    title = reader.metadata.title if reader.metadata else None
    yield {"title": str(title or ""), "page": 0, "text": "", "why": ""}
    for number, page in enumerate(reader.pages, start=1):
        try:
            text, why = page.extract_text(), ""
        except MemoryError:
            raise
        except Exception as error:  # one page that a large library cannot read: counted, and the others are read
            text, why = (
                "",
                f"cannot be read: {str(error).splitlines()[0][:120] if str(error) else type(error).__name__}",
            )
        yield {"page": number, "text": text, "why": why}


def _opens_without(reader: Any) -> bool:
    """Whether the empty password opens it, as it does where a pdf is only kept from being changed."""
    try:
        return bool(reader.decrypt(""))
    except (pypdf.errors.PyPdfError, pypdf.errors.DependencyError, NotImplementedError) as error:
        raise Unreadable(f"the pdf is encrypted in a way that cannot be opened: {error}", "save it anew") from error
