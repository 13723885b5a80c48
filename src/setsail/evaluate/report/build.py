"""The report as two files that hold the same text and figures."""

from __future__ import annotations

from pathlib import Path

from setsail.base.files import explained_os_errors
from setsail.base.page.blocks import Document
from setsail.base.page.html import to_html
from setsail.base.page.markdown import to_markdown
from setsail.evaluate.evaluation import Evaluation
from setsail.evaluate.report.document import document, evaluation_document
from setsail.evaluate.report.facts import ReportFacts
from setsail.evaluate.verdict import Language


def build_evaluation(out: Path, evaluation: Evaluation, *, name: str, language: Language = "en") -> None:
    """Writes the same two files about an evaluation alone."""
    _write(out, evaluation_document(evaluation, name, language))


def build(out: Path, facts: ReportFacts, *, language: Language = "en") -> None:
    """Writes report.html and report.md into `out`; `language` is that of the report's own words."""
    _write(out, document(facts, language))


def _write(out: Path, page: Document) -> None:
    with explained_os_errors("writing the report"):
        (out / "report.html").write_text(to_html(page), encoding="utf-8")
        (out / "report.md").write_text(to_markdown(page), encoding="utf-8")
