"""The report's chapter about what was forgotten: both languages, and red where something dropped."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import toy_evaluation as toy

from setsail.evaluate.evaluation import Evaluation
from setsail.evaluate.guard import Examination, Guard, Taken, compare
from setsail.evaluate.report import build
from setsail.evaluate.score import Plan, evaluate
from setsail.evaluate.verdict import Language


@pytest.fixture
def evaluation(tmp_path: Path) -> Evaluation:
    rows = toy.rows(20)
    system = toy.answering(lambda text: text, rows, nats_per_byte=1.0, stops=True)
    return evaluate({"base": system, "tuned": system}, rows, tmp_path, plan=Plan(resamples=100))


def examined(right: int) -> Examination:
    sums = [Taken("sums", f"sum-{n}", float(n < right), 1.0, f"{n} + 1 = ?", f"<b>{right}</b>") for n in range(30)]
    english = [Taken("english_instructions", f"e-{n}", 0.0, 1.0, "Say yes", "no") for n in range(20)]
    return Examination(1, (*sums, *english))


def pages(out: Path, evaluation: Evaluation, guard: Guard | None, language: Language) -> tuple[str, str]:
    out.mkdir()
    build(out, toy.facts(replace(evaluation, guard=guard)), language=language)
    return (out / "report.html").read_text("utf-8"), (out / "report.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("language", "title", "told", "cannot"),
    [
        ("en", "What was forgotten", "Tuning cost the model something", "the base cannot do it either"),
        ("zh", "忘掉了什么", "微调使模型丢掉了原有的能力", "基座本来也不会"),
    ],
)
def test_a_drop_is_red_with_its_questions(
    tmp_path: Path, evaluation: Evaluation, language: Language, title: str, told: str, cannot: str
) -> None:
    guard = compare(examined(25), examined(5), resamples=200, seed=1)
    html, markdown = pages(tmp_path / "page", evaluation, guard, language)
    chapter = html.split('id="forgetting"')[1].split("</section>")[0]
    assert title in chapter and told in chapter and cannot in chapter
    assert re.search(r'class="[a-z ]*\bbad\b', chapter)
    assert "5 + 1 = ?" in chapter and "&lt;b&gt;25&lt;/b&gt;" in chapter
    assert title in markdown and told in markdown and "5 + 1 = ?" in markdown


def test_nothing_forgotten_is_not_red(tmp_path: Path, evaluation: Evaluation) -> None:
    guard = compare(examined(25), examined(25), resamples=200, seed=1)
    html, _ = pages(tmp_path / "page", evaluation, guard, "en")
    chapter = html.split('id="forgetting"')[1].split("</section>")[0]
    assert "No skill of the battery is shown to have dropped." in chapter and not re.search(
        r'class="[a-z ]*\bbad\b', chapter
    )


def test_without_a_guard_there_is_no_chapter(tmp_path: Path, evaluation: Evaluation) -> None:
    html, markdown = pages(tmp_path / "page", evaluation, None, "en")
    assert "What was forgotten" not in html + markdown
