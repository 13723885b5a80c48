"""The report: what a reader finds in both files, and what must never be in them."""

from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import toy_evaluation as toy

from setsail.base.page.markdown import fenced
from setsail.data.summary import REASONS
from setsail.evaluate.baseline import fit_nearest
from setsail.evaluate.contamination import take_out
from setsail.evaluate.evaluation import Evaluation
from setsail.evaluate.report import Check, DataFacts, RenderedRow, ReportFacts, TrainingFacts, build
from setsail.evaluate.report.drawing import Line, curve, running_mean, ticks
from setsail.evaluate.report.words import KNOWN, PHRASES
from setsail.evaluate.score import Plan, evaluate
from setsail.evaluate.verdict import Language

VOID = {"meta", "link", "br", "img", "input", "hr"}
NASTY = "</pre></script><script>alert('x')</script> & <img src=https://evil.example/a.png> ``` | **b**"


class Page(HTMLParser):
    """Reads a page strictly: every tag closed in order; collects tags, attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.heads: list[str] = []
        self.cells: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == [], f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.texts.append(data)
        if self.open and self.open[-1] == "h2":
            self.heads.append(data)
        if {"td", "th"} & set(self.open):
            self.cells[-1] += data

    @property
    def text(self) -> str:
        return "".join(self.texts)


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    rows = toy.rows(90, per_group=2)
    kept, account = take_out([*rows[:40], rows[60]], rows[40:], threshold=0.85)
    systems = {
        "base": toy.answering(lambda text: f"Sure! {NASTY} {text[:9]}", kept, nats_per_byte=1.0, stops=False),
        "tuned": toy.answering(lambda text: text[:40], kept, nats_per_byte=0.6, stops=True),
        "nearest": fit_nearest(rows[40:]).system(),
    }
    out = tmp_path_factory.mktemp("evaluation")
    return evaluate(systems, kept, out, plan=Plan(resamples=200), contamination=account)


def built(out: Path, facts: ReportFacts, language: Language = "en") -> tuple[str, str]:
    build(out, facts, language=language)
    assert sorted(path.name for path in out.iterdir()) == ["report.html", "report.md"]
    return (out / "report.html").read_text("utf-8"), (out / "report.md").read_text("utf-8")


def test_the_page_parses_and_has_every_chapter(tmp_path: Path, evaluation: Evaluation) -> None:
    html, markdown = built(tmp_path, toy.facts(evaluation))
    page = Page(html)
    assert page.heads == [
        "What to type next",
        "How good it is",
        "Where it is good and where it is weak",
        "Is what is served what was trained",
        "What went in",
        "What the model sees",
        "Training",
        "What is left behind",
        "Answers to read",
        "Times, versions, licences",
        "Recipe",
    ]
    assert re.findall(r"^## (.+)$", markdown, re.MULTILINE) == page.heads
    anchors = {value for tag, name, value in page.attributes if name == "id"}
    links = {value for tag, name, value in page.attributes if tag == "a" and name == "href"}
    assert links == {f"#{anchor}" for anchor in anchors} and len(links) == 11
    assert page.tags.count("h1") == 1 and evaluation.verdict in page.text


def test_it_needs_nothing_from_outside_and_runs_nothing(tmp_path: Path, evaluation: Evaluation) -> None:
    html, _ = built(tmp_path, toy.facts(evaluation))
    page = Page(html)
    assert not {"script", "link", "img", "iframe", "object", "embed", "form"} & set(page.tags)
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), f"<{tag} {name}>"
        assert "//" not in value and not value.startswith(("javascript:", "data:")), f"<{tag} {name}={value}>"
    [style] = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    assert "url(" not in style and "@import" not in style
    for need in ("@media print", "prefers-color-scheme: dark", "max-width: 36rem"):
        assert need in style


def test_text_from_outside_is_never_markup(tmp_path: Path, evaluation: Evaluation) -> None:
    facts = dataclasses.replace(
        toy.facts(evaluation),
        name=NASTY,
        base=NASTY,
        recipe=NASTY,
        data=DataFacts(
            source=NASTY, findings=(NASTY,), dropped={NASTY: 1}, rendered=(RenderedRow("1", NASTY, ((NASTY, True),)),)
        ),
        faithfulness=(Check(NASTY, NASTY, 1.0, NASTY, False),),
    )
    html, markdown = built(tmp_path, facts)
    page = Page(html)
    assert not {"script", "img"} & set(page.tags)
    assert page.text.count("alert('x')") > 10, "it is shown, not lost"
    outside = re.sub(r"^(`{3,})[^\n]*\n.*?\n\1$", "", markdown, flags=re.DOTALL | re.MULTILINE)
    assert not re.search(r"(?<!\\)<", outside), "nothing outside a fence can be a tag"
    assert fenced("a ```` b").startswith("`````\n")


def figures(text: str) -> set[str]:
    return set(re.findall(r"\d[\d,]*\.?\d*", text))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_both_files_hold_the_same_figures(tmp_path: Path, evaluation: Evaluation, language: Language) -> None:
    html, markdown = built(tmp_path, toy.facts(evaluation), language)
    cells = {" ".join(cell.split()) for cell in Page(html).cells if cell.strip()}
    rows = [line for line in markdown.splitlines() if line.startswith("| ")]
    written = {re.sub(r"\\(.)", r"\1", cell.strip()) for line in rows for cell in line.strip("|").split(" | ")}
    assert cells - written == set() and written - cells <= {"", "---", "---:"}
    undrawn = re.sub(r'<figure><div class="wide">.*?</figure>', "", html, flags=re.DOTALL)
    assert figures(" ".join(Page(undrawn).texts)) ^ figures(re.sub(r"\\(.)", r"\1", markdown)) == set()
    tuned = evaluation.systems["tuned"].metrics["chrf"]
    assert f"[{tuned.low:.1f}, {tuned.high:.1f}]" in cells
    gap = evaluation.comparisons[0].differences["chrf"].gap
    assert f"+{gap.value:.1f}" in cells and f"[+{gap.low:.1f}, +{gap.high:.1f}]" in cells


def test_the_report_speaks_chinese_and_marks_what_does_not(tmp_path: Path, evaluation: Evaluation) -> None:
    html, markdown = built(tmp_path, toy.facts(evaluation), "zh")
    assert '<html lang="zh">' in html and "微调后的模型优于基座模型" in html and "微调后的模型优于基座模型" in markdown
    page = Page(html)
    assert "与另一样本完全重复" in page.cells
    assert {value for tag, name, value in page.attributes if (tag, name) == ("dd", "lang")} == {"en"}
    assert [value for tag, name, value in page.attributes if (tag, name) == ("pre", "lang")] == ["en", "zh", "en"]


def test_every_phrase_and_every_reason_has_both_languages() -> None:
    fields = re.compile(r"{(\w+)}")
    for key, (english, chinese) in PHRASES.items():
        assert english and chinese, key
        assert set(fields.findall(english)) == set(fields.findall(chinese)), key
    assert set(REASONS) <= set(KNOWN), "a reason of preparing has no Chinese"


def test_supervised_text_is_marked_in_both(tmp_path: Path) -> None:
    runs = (("<|im_start|>user\nWhy?<|im_end|>\n", False), ("Because.<|im_end|>", True), ("\n", False))
    html, markdown = built(
        tmp_path, ReportFacts("x", "now", data=DataFacts(rendered=(RenderedRow("1", "a.csv:2", runs),)))
    )
    assert "Why?&lt;|im_end|&gt;\n<mark>Because.&lt;|im_end|&gt;</mark>" in html
    assert "⟦Because.<|im_end|>⟧" in markdown


def test_a_breach_names_the_first_stage_that_differs(tmp_path: Path) -> None:
    checks = (
        Check("adapter", "kl", 0.0, "= 0", True),
        Check("merged", "kl", 0.5, "≤ 0.01", False),
        Check("gguf q8_0", "kl", 0.7, "≤ 0.01", False),
    )
    html, markdown = built(tmp_path, ReportFacts("x", "now", faithfulness=checks))
    for text in (Page(html).text, markdown):
        assert "2 of 3 checks fail. The first stage that differs: merged." in text
        assert "1 of 3" in text and "✗ fails" in text


def test_what_a_voyage_did_not_do_is_left_out(tmp_path: Path) -> None:
    html, markdown = built(tmp_path, ReportFacts("bare", "2026-11-22"))
    assert Page(html).heads == [] and "## " not in markdown
    assert "This voyage was not evaluated." in html and "This voyage was not evaluated." in markdown


def test_the_facts_are_json() -> None:
    assert json.loads(json.dumps(dataclasses.asdict(toy.facts(None))))["training"]["plan"]["num_steps"] == 240


def test_a_long_run_is_drawn_with_few_points_and_listed_in_eight(tmp_path: Path) -> None:
    first = toy.facts(None).training.steps[0]
    steps = tuple(dataclasses.replace(first, step=step) for step in range(1, 20_001))
    html, markdown = built(tmp_path, ReportFacts("x", "now", training=TrainingFacts(steps=steps)))
    assert len(html) < 80_000
    rows = [line for line in markdown.splitlines() if line.startswith("| ")][2:]
    assert len(rows) == 8 and rows[0].startswith("| 1 |") and rows[-1].startswith("| 20,000 |")


@pytest.mark.parametrize("points", [((0.0, 2.0),), ((1.0, 0.0), (2.0, 0.0)), ((0.0, -1.0), (5.0, 1e6))])
def test_odd_curves_are_drawn_without_nonsense(points: tuple[tuple[float, float], ...]) -> None:
    svg = curve([Line("a < b", points, smooth=3)], "step")
    Page(svg)
    assert "nan" not in svg and "inf" not in svg and "a &lt; b" in svg
    places = re.findall(r'points="([^"]+)"', svg)
    assert all(-1 <= float(at) <= 701 for place in places for pair in place.split() for at in pair.split(","))


def test_ticks_are_round_and_the_running_mean_is_centred() -> None:
    assert ticks(0.93, 1.47, 5) == [1.0, 1.2, 1.4]
    assert running_mean([0.0, 0.0, 3.0, 0.0, 0.0], 3) == [0.0, 1.0, 1.0, 1.0, 0.0]
    assert running_mean([5.0], 9) == [5.0]
