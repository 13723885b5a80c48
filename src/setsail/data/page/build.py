"""The page as two files that hold the same text and figures: the only place that knows the order of the chapters."""

from __future__ import annotations

from pathlib import Path

from setsail.base.files import explained_os_errors
from setsail.base.page.blocks import Document, KeyFigure
from setsail.base.page.html import to_html
from setsail.base.page.markdown import to_markdown
from setsail.base.page.words import Language, Words
from setsail.data.page.about_rows import (
    labels_chapter,
    lengths_chapter,
    parts_chapter,
    percent,
    samples_chapter,
    scripts_chapter,
)
from setsail.data.page.about_work import (
    changes_chapter,
    copies_chapter,
    findings_chapter,
    privacy_chapter,
    source_chapter,
    waterfall_chapter,
)
from setsail.data.page.figures import Figures
from setsail.data.page.words import words_in

PAGE = "data.html"
MOST_BYTES = 1_000_000
_CHAPTERS = (
    *(findings_chapter, source_chapter, waterfall_chapter, copies_chapter, privacy_chapter, parts_chapter),
    *(labels_chapter, lengths_chapter, scripts_chapter, samples_chapter, changes_chapter),
)


def build(out: Path, figures: Figures, *, language: Language) -> None:
    """Writes data.html and data.md into `out`; `language` is that of the page's own words."""
    page = document(figures, words_in(language))
    with explained_os_errors("writing the page about the data"):
        for name, text in ((PAGE, to_html(page)), ("data.md", to_markdown(page))):
            content = text.encode("utf-8")
            assert len(content) < MOST_BYTES, f"{name} has {len(content):,} bytes: a list on it is not bounded"
            (out / name).write_bytes(content)


def document(figures: Figures, words: Words) -> Document:
    """The whole page in one language; chapters without content are left out."""
    chapters = [chapter(figures, words) for chapter in _CHAPTERS]
    return Document(
        language=words.language,
        title=figures.source.name,
        subtitle=words("subtitle"),
        verdict=_verdict(figures, words),
        tone="" if figures.dropped else "good",
        key_figures=_key_figures(figures, words),
        chapters=tuple(chapter for chapter in chapters if chapter.blocks),
        words={"kind": words("kind"), "contents": words("contents"), "created": words("cut_short")},
    )


def _verdict(figures: Figures, words: Words) -> str:
    read, kept = figures.num_read, figures.num_kept
    if kept == read:
        told = words("verdict_all", read=f"{read:,}")
    else:
        told = words("verdict", read=f"{read:,}", kept=f"{kept:,}", dropped=f"{read - kept:,}")
    if not figures.num_made:
        return told
    return f"{told} {words('verdict_made', made=f'{figures.num_made:,}')}"


def _key_figures(figures: Figures, words: Words) -> tuple[KeyFigure, ...]:
    train, validation, test = figures.parts
    num_dropped = figures.num_read - figures.num_kept
    held_out = words("key_held_out", validation=f"{validation.num_rows:,}", test=f"{test.num_rows:,}")
    found = "–" if figures.redact == "none" else f"{sum(figures.redacted.values()):,}"
    licence = figures.source.licence.name
    return (
        KeyFigure(words("key_train"), f"{train.num_rows:,}", held_out),
        KeyFigure(
            words("key_characters"),
            f"{train.lengths.num_characters:,}",
            words("key_median", median=f"{train.lengths.median:,}"),
        ),
        KeyFigure(
            words("key_dropped"), f"{num_dropped:,}", words("key_of", share=percent(num_dropped, figures.num_read))
        ),
        KeyFigure(words("key_privacy"), found, words(f"key_{figures.redact}", rows=f"{figures.num_masked_rows:,}")),
        KeyFigure(words("key_licence"), licence or words("not_stated"), tone="" if licence else "open"),
    )
