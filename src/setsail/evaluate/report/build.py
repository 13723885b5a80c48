"""The report as two files that hold the same text and figures."""

from __future__ import annotations

from pathlib import Path

from setsail.base.files import explained_os_errors
from setsail.base.page.html import to_html
from setsail.base.page.markdown import to_markdown
from setsail.evaluate.report.document import document
from setsail.evaluate.report.facts import ReportFacts
from setsail.evaluate.verdict import Language


def build(out: Path, facts: ReportFacts, *, language: Language = "en") -> None:
    """Writes report.html and report.md into `out`; `language` is that of the report's own words."""
    page = document(facts, language)
    with explained_os_errors("writing the report"):
        (out / "report.html").write_text(to_html(page), encoding="utf-8")
        (out / "report.md").write_text(to_markdown(page), encoding="utf-8")
