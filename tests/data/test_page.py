"""The page to read before training: its figures to the last row, both languages, and what must never be on it."""

from __future__ import annotations

import dataclasses
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.small_rows import pair
from setsail.base.errors import ArtifactError
from setsail.base.page.words import Language
from setsail.data.page import said
from setsail.data.page.build import MOST_BYTES, build
from setsail.data.page.figures import (
    Cluster,
    Example,
    Figures,
    File,
    Label,
    Lengths,
    Licence,
    Reason,
    Sample,
    read_figures,
)
from setsail.data.page.gather import MOST_CLUSTERS, MOST_COLUMNS, MOST_FILES, MOST_LABELS
from setsail.data.page.measure import SAMPLE_TURNS, SAMPLES, SCRIPTS, lengths_of, script_counts
from setsail.data.page.shown import shown
from setsail.data.page.words import CHINESE_REASONS, NAMES, PHRASES
from setsail.data.privacy.registry import KINDS
from setsail.data.row import read_rows
from setsail.data.steps.registry import STEPS
from setsail.data.summary import REASONS, Summary

Write = Callable[..., Path]
Prepare = Callable[..., Summary]

VOID = {"meta", "link", "br", "img", "input", "hr", "rect"}
HAN = re.compile("[\u4e00-\u9fff]")
NASTY = "</pre></script><script>alert('x')</script> \"a\" & ``` | **b** \u202eevil\u202c \ufeff"


class Page(HTMLParser):
    """Reads a page strictly: every tag is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == [], f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on") and "//" not in (value or ""), f"<{tag} {name}={value}>"

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        self.text += "" if "style" in self.open else data


def figures_in(out: Path) -> Figures:
    return read_figures(out / "data.json")


def page_in(out: Path) -> tuple[str, str]:
    return (out / "data.html").read_text("utf-8"), (out / "data.md").read_text("utf-8")


@pytest.fixture
def tickets(jsonl: Write, prepared: Prepare, tmp_path: Path) -> Figures:
    """Forty tickets that differ, some copies of the first and the second, and one of each mistake."""
    rows: list[object] = [{"text": f"{pair(n)['completion']}", "label": ("late", "broken")[n % 2]} for n in range(40)]
    rows += [rows[0]] * 6 + [rows[1]] * 2
    rows += [{"text": "", "label": "late"}, {"text": "No label", "label": ""}, '{"broken']
    rows[4] = {"text": f"{pair(4)['completion']}\r\nWrite to ann.lee@example.org", "label": "late"}
    rows[5] = {"text": f"退货 {pair(5)['completion']}", "label": "broken"}
    jsonl(rows, "tickets.jsonl")
    prepared("tickets.jsonl", task="classify", near_duplicates=1.0, augment={"delete": 0.2})
    return figures_in(tmp_path / "out")


def test_every_figure_is_exact(tickets: Figures, tmp_path: Path) -> None:
    assert (tickets.num_read, tickets.num_kept) == (51, 40)
    assert [(reason.name, reason.num_rows, reason.first) for reason in tickets.dropped] == [
        ("exact_duplicate", 8, ("tickets.jsonl:41", "tickets.jsonl:42", "tickets.jsonl:43")),
        ("broken_json", 1, ("tickets.jsonl:51",)),
        ("empty_text", 1, ("tickets.jsonl:49",)),
        ("no_label", 1, ("tickets.jsonl:50",)),
    ]
    assert tickets.steps[0] == ("read", 51) and tickets.steps[-1] == ("exact copies", 40)
    assert (tickets.copies.num_exact, tickets.copies.num_near) == (8, 0)
    first = pair(0)["completion"]
    assert tickets.copies.clusters[0] == Cluster("tickets.jsonl:1", 7, first)
    assert [cluster.num_rows for cluster in tickets.copies.clusters] == [7, 3]
    assert (tickets.redacted, tickets.num_masked_rows) == ({"EMAIL": 1}, 1)
    assert tickets.changed == {"line_ends": 1}
    [example] = tickets.examples
    assert example.before.endswith("⟨U+000D⟩\nWrite to [EMAIL_1]") and "U+" not in example.after
    assert tickets.source.num_files == 1
    assert tickets.source.files[0].columns == {"text": "text", "label": "label"}
    assert tickets.split == ("by_chance", "")
    assert tickets.redact == "mask" and "EMAIL" in tickets.looked_for and "NAME" not in tickets.looked_for


def test_the_figures_of_a_part_are_those_of_its_stored_rows(tickets: Figures, tmp_path: Path) -> None:
    for place, part in enumerate(tickets.parts):
        rows = read_rows(tmp_path / "out" / f"{part.name}.parquet")
        sizes = sorted(len(row.text) for row in rows)
        assert part.num_rows == len(rows) and part.lengths.num_characters == sum(sizes)
        assert part.lengths.longest == sizes[-1] and part.lengths.median == sizes[(len(sizes) - 1) // 2]
        assert sum(count for _, count in part.lengths.buckets) == len(rows)
        assert part.scripts["han"] == sum(len(HAN.findall(row.text)) for row in rows)
        assert sum(part.scripts.values()) == sum(sizes)
        counts = Counter(row.label for row in rows)
        assert {label.name: label.num_rows[place] for label in tickets.labels} == {**dict.fromkeys(counts, 0), **counts}
        assert [sample.id for sample in part.samples] == sorted(row.id for row in rows)[:SAMPLES]
    made = sum(bool(row.marks) for row in read_rows(tmp_path / "out" / "train.parquet"))
    assert tickets.num_made == tickets.parts[0].made["delete"] == made > 20


def test_the_verdict_counts_what_was_made(tickets: Figures, tmp_path: Path) -> None:
    _, markdown = page_in(tmp_path / "out")
    made = f"{tickets.num_made} more were made from training rows."
    assert f"**Of 51 rows read, 40 are used and 11 were dropped, each for a counted reason. {made}**" in markdown


def test_a_long_conversation_is_cut_and_says_where(jsonl: Write, prepared: Prepare, tmp_path: Path) -> None:
    def talk(number: int, turns: int, letters: int) -> dict[str, object]:
        texts = [f"{pair(number)['prompt']} {turn} {'x' * letters}" for turn in range(turns)]
        return {"messages": [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]}

    jsonl([talk(n, 20, 0) if n % 2 else talk(n, 4, 500) for n in range(20)])
    prepared("rows.jsonl", near_duplicates=1.0)
    samples = [sample for part in figures_in(tmp_path / "out").parts for sample in part.samples]
    assert {sample.num_turns for sample in samples} == {4, 20}
    for sample in samples:
        shown_of = {20: SAMPLE_TURNS, 4: 2}[sample.num_turns]
        assert len(sample.turns) == shown_of and sum(len(text) for _, text in sample.turns) < 700
        assert sample.turns[-1][1].endswith(")") == (sample.num_turns == 4)
    assert "8 of 20 turns" in page_in(tmp_path / "out")[0]


def test_groups_and_near_copies_are_counted(jsonl: Write, prepared: Prepare, tmp_path: Path) -> None:
    rows = [{**pair(n), "customer": "big" if n < 9 else f"c{n}"} for n in range(60)]
    long = " ".join(pair(n)["completion"] for n in range(8))
    rows += [{"prompt": "Why?", "completion": f"{long} {end}", "customer": "x"} for end in ("one", "two", "six")]
    rows += [rows[-1]]
    jsonl(rows)
    prepared("rows.jsonl", split={"by": "customer"})
    figures = figures_in(tmp_path / "out")
    assert figures.split == ("by_column", "customer")
    assert (figures.copies.num_exact, figures.copies.num_near) == (1, 2)
    [cluster] = figures.copies.clusters
    assert (cluster.origin, cluster.num_rows) == ("rows.jsonl:61", 4), "a copy of a near copy is in the same cluster"
    assert max(part.largest_group for part in figures.parts) == 9
    assert sum(part.num_groups for part in figures.parts) == 53
    assert sum(part.num_in_groups for part in figures.parts) == 61


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_parses_and_says_what_the_figures_say(tickets: Figures, tmp_path: Path, language: Language) -> None:
    build(tmp_path, tickets, language=language)
    html, markdown = page_in(tmp_path)
    page = Page(html)
    assert f'<html lang="{language}">' in html and not {"script", "img", "link", "iframe"} & set(page.tags)
    for figure in ("51", "tickets.jsonl:41", "tickets.jsonl:51", "[EMAIL_1]", tickets.source.fingerprint):
        assert figure in page.text and figure in re.sub(r"\\(.)", r"\1", markdown), figure
    english = [heading for heading in page.text.splitlines() if heading in {pair[0] for pair in PHRASES.values()}]
    assert bool(english) == (language == "en")
    assert ("各部分中编号" in page.text) == (language == "zh")
    assert len(re.findall(r"^## ", markdown, re.MULTILINE)) == html.count("<h2>") == 11


def test_text_from_the_data_is_never_markup_and_hides_nothing(jsonl: Write, prepared: Prepare, tmp_path: Path) -> None:
    labels = (f"<b>{NASTY}", "plain")
    rows = [{"text": f"{NASTY} \x00 {pair(n)['prompt']}", "label": labels[n % 2]} for n in range(40)]
    prepared(jsonl(rows + rows, "a & <b>.jsonl").name, task="classify", clean="none")
    html, markdown = page_in(tmp_path / "out")
    page = Page(html)
    assert "script" not in page.tags and "b" not in page.tags
    assert page.text.count("alert('x')") > 20 and "a & <b>.jsonl" in page.text, "it is shown, not lost"
    assert "⟨U+0000⟩" in page.text and "⟨U+202E⟩evil⟨U+202C⟩" in page.text
    assert not re.search("[\x00\u202e\u202c\ufeff]", html + markdown)
    outside = re.sub(r"^(`{3,})[^\n]*\n.*?\n\1$", "", markdown, flags=re.DOTALL | re.MULTILINE)
    assert not re.search(r"(?<!\\)<", outside), "nothing outside a fence can be a tag"


def test_no_personal_value_is_on_it_even_where_the_rows_keep_them(
    jsonl: Write, prepared: Prepare, tmp_path: Path
) -> None:
    mail, phone = "ann.lee@example.org", "13812345678"
    rows = [{"text": f" {mail} {phone}\n{pair(n)['prompt']}", "label": (mail, "other")[n % 2]} for n in range(40)]
    jsonl([*rows, *rows[:9], {"text": f"{rows[1]['text']}", "label": mail}], f"{mail}.jsonl")
    prepared(f"{mail}.jsonl", task="classify", redact="none")
    assert any(mail in row.text for row in read_rows(tmp_path / "out" / "train.parquet"))
    for name in ("data.html", "data.md", "data.json"):
        text = (tmp_path / "out" / name).read_text("utf-8")
        assert "ann.lee" not in text and phone not in text, name
        assert "[EMAIL_1]" in text or "\\[EMAIL\\_1\\]" in text
    assert figures_in(tmp_path / "out").looked_for == ()
    assert "Nobody looked for it" in page_in(tmp_path / "out")[0]


@pytest.mark.parametrize("redact, told", [("mask", "masked in 2 rows"), ("drop", "their rows were dropped")])
def test_it_says_what_was_done_with_personal_data(
    jsonl: Write, prepared: Prepare, tmp_path: Path, redact: str, told: str
) -> None:
    rows = [pair(n) for n in range(40)]
    for n in (3, 5):
        rows[n]["completion"] += f" Write to ann{n}@example.org."
    jsonl(rows)
    prepared("rows.jsonl", redact={"mode": redact, "entities": ["email", "iban"]})
    assert figures_in(tmp_path / "out").redacted == {"EMAIL": 2}
    html, _ = page_in(tmp_path / "out")
    assert told in html and "Looked for: mail addresses; bank accounts." in Page(html).text


def test_a_thousand_labels_fit(jsonl: Write, prepared: Prepare, tmp_path: Path) -> None:
    rows = [{"text": f"{pair(n)['prompt']} {n}", "label": f"{'标签' * 40} {n % 1000:04}"} for n in range(5000)]
    prepared(jsonl(rows).name, task="classify", near_duplicates=1.0)
    figures = figures_in(tmp_path / "out")
    assert len(figures.labels) == figures.num_labels == 1000
    assert sum(sum(label.num_rows) for label in figures.labels) == 5000
    html, _ = page_in(tmp_path / "out")
    assert html.count("<tr") < 100, "the page shows the ends of the list"
    assert all((tmp_path / "out" / name).stat().st_size < MOST_BYTES for name in ("data.html", "data.md", "data.json"))


@pytest.mark.parametrize("character", ['"', "&", "😀", "\\", "`"])
def test_the_longest_page_that_can_be_stays_under_a_megabyte(tickets: Figures, tmp_path: Path, character: str) -> None:
    """Every list as long as it may be, of texts as long as they may be, of what takes most room."""

    def text(most: int) -> str:
        return character * most + " … (+1,000,000)"

    columns = {text(60) + str(number): text(60) for number in range(MOST_COLUMNS)}
    file = File(text(120), "jsonl", "utf-8", "messages", 10**9, columns, (text(60),) * MOST_COLUMNS, 10**6)
    turns = (("user", text(600)), *[("assistant", text(1))] * (SAMPLE_TURNS - 1))
    sample = Sample("0" * 16, text(120), text(60), (text(120),) * 8, turns, 10**6)
    lengths = Lengths(10**12, 10**6, 10**9, 10**12, tuple((10**power, 10**9) for power in range(13)))
    nasty = dataclasses.replace(
        tickets,
        source=dataclasses.replace(
            tickets.source, name=text(120), licence=Licence(text(120), text(120)), files=(file,) * MOST_FILES
        ),
        steps=tuple((name, 10**9) for name in STEPS),
        dropped=tuple(Reason(name, 10**9, (text(120),) * 3) for name in REASONS),
        changed=dict.fromkeys(STEPS, 10**9),
        examples=tuple(Example(name, text(120), text(300), text(300)) for name in STEPS for _ in range(3)),
        copies=dataclasses.replace(tickets.copies, clusters=(Cluster(text(120), 10**9, text(200)),) * MOST_CLUSTERS),
        parts=tuple(dataclasses.replace(part, samples=(sample,) * 5, lengths=lengths) for part in tickets.parts),
        labels=(Label(text(60), (10**9, 10**9, 10**9)),) * MOST_LABELS,
        findings=(text(400),) * 41,
    )
    build(tmp_path, nasty, language="zh")
    assert len(Page((tmp_path / "data.html").read_text("utf-8")).text) > 50_000
    assert len(json.dumps(dataclasses.asdict(nasty), ensure_ascii=False, indent=1).encode()) < MOST_BYTES


def test_the_page_is_the_same_for_any_number_of_pieces(
    jsonl: Write, prepared: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jsonl([{**pair(n % 70), "thread": n % 12} for n in range(90)])
    prepared("rows.jsonl", out="whole", split={"by": "thread"})
    monkeypatch.setattr("setsail.data.pieces.PIECE_BYTES", 2000)
    prepared("rows.jsonl", out="pieces", split={"by": "thread"})
    for name in ("data.html", "data.md", "data.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "pieces" / name).read_bytes()


def test_figures_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text('{"source": 5}', encoding="utf-8")
    with pytest.raises(ArtifactError, match="not the figures of prepared rows: source"):
        read_figures(tmp_path / "data.json")


def test_every_name_and_phrase_has_both_languages() -> None:
    assert set(CHINESE_REASONS) == set(REASONS)
    assert set(STEPS) | set(KINDS) <= set(NAMES)
    fields = re.compile(r"{(\w+)}")
    for key, (english, chinese) in {**PHRASES, **NAMES}.items():
        assert english and chinese and set(fields.findall(english)) == set(fields.findall(chinese)), key
        assert HAN.search(chinese) or key in ("percentile_95", "sample"), key


def test_the_chinese_page_says_every_finding_in_chinese(jsonl: Write, prepared: Prepare, tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    rows: list[object] = [{"text": pair(n)["completion"], "label": ("late", "broken")[n % 2]} for n in range(60)]
    rows += [*rows[:3], {"text": "", "label": "late"}, {"text": "x y", "label": "Late"}]
    rows[6] = {"text": f"{pair(6)['completion']} ann@example.org", "label": "late", "agent": "x"}
    rows += [{"text": f"Ticket {pair(n)['prompt']}", "label": "Late"} for n in range(9)]
    long = " ".join(pair(n)["completion"] for n in range(8))
    rows += [{"text": f"{long} one", "label": "late"}, {"text": f"{long} two", "label": "broken"}]
    jsonl(rows, "all/train.jsonl")
    jsonl(
        [{"text": f"T{n} {pair(n)['prompt']}", "label": ("late", "broken", "Late")[n % 3]} for n in range(9)],
        "all/test.jsonl",
    )
    (tmp_path / "all" / "notes.md").write_text("Nothing.", encoding="utf-8")
    wide = {f"column {number}": "x" for number in range(20)}
    jsonl([{"text": f"W{n} {pair(n)['prompt']}", "label": "late", **wide} for n in range(5)], "all/train-wide.jsonl")
    (tmp_path / "all" / "train-bytes.csv").write_bytes(
        b"text,label\n" + b"good text,late\n" * 30 + b"bad \xff\xfe text,late\n"
    )
    augment = {"swap": 0.2, "paraphrase": 1.0, "server": {"url": "http://127.0.0.1:1", "model": "any"}}
    summary = prepared(
        "all", task="classify", max_rows=70, augment=augment, encoding="utf-8", ask=lambda prompt, seed: ""
    )
    untold = [finding for finding in summary.findings if said.said(finding, "zh") == finding]
    assert untold == [] and all(HAN.search(said.said(finding, "zh")) for finding in summary.findings)
    given = ["the source brings its own parts: train, test; validation taken from train"]
    given += ["the source brings its own parts: train, validation, test"]
    given += ["1 value was replaced in 1 row: EMAIL 1"]
    given += ['no "org/set" lies here: read from the hub, as data.source: hf:org/set']
    seen = [*summary.findings, *given]
    unmet = [form for form in said._CHINESE if not any(re.fullmatch(form, finding) for finding in seen)]
    assert unmet == [], "a form that preparing does not say"
    assert said.said(given[0], "zh") == "来源自带划分：训练、测试；验证取自训练集"
    assert said.said("something new", "zh") == "something new"


@given(st.text(alphabet=st.characters(exclude_categories=[]), max_size=300), st.integers(1, 120))
def test_shown_text_is_short_and_visible(text: str, most: int) -> None:
    told = shown(text, most)
    assert len(told) <= most + len(" … (+2,400)")
    told.encode("utf-8")
    assert all(unicodedata.category(character) not in ("Cc", "Cs") or character in "\t\n" for character in told)
    assert not re.search("[\u202a-\u202e\u2066-\u2069\ufeff]", told)


def test_a_value_that_stands_across_the_cut_is_masked_first() -> None:
    assert shown("write to ann.lee@example.org", 16) == "write to [EMAIL_ … (+2)"
    assert shown("x" * 70_000, 5) == "xxxxx … (+69,995)"


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=60))
def test_lengths_are_those_of_sorting(lengths: list[int]) -> None:
    found = lengths_of(np.array(lengths))
    ordered = sorted(lengths)
    assert found.median == ordered[-(-len(ordered) // 2) - 1] and found.longest == ordered[-1]
    assert sum(size <= found.percentile_95 for size in ordered) >= 0.95 * len(ordered)
    starts = [start for start, _ in found.buckets]
    ends = [*starts[1:], ordered[-1] + 1]
    counted = [sum(start <= size < end for size in ordered) for start, end in zip(starts, ends, strict=True)]
    assert counted == [count for _, count in found.buckets]


@given(st.text(max_size=200))
def test_scripts_are_those_of_the_unicode_names(text: str) -> None:
    def of_letters(*words: str) -> int:
        names = [unicodedata.name(c, "") for c in text if unicodedata.category(c) in ("Lu", "Ll", "Lo")]
        return sum(name.startswith(words) for name in names)

    counts = dict(zip(SCRIPTS, script_counts(text).tolist(), strict=True))
    assert sum(counts.values()) == len(text)
    assert counts["han"] >= of_letters("CJK UNIFIED", "CJK COMPATIBILITY IDEOGRAPH")
    assert counts["hangul"] >= of_letters("HANGUL") and counts["cyrillic"] >= of_letters("CYRILLIC LETTER")
    assert counts["latin"] >= of_letters("LATIN SMALL LETTER", "LATIN CAPITAL LETTER")


def test_scripts_of_known_words() -> None:
    text = "Привет, 世界! カタカナ 한글 naïve עברית 123"
    assert dict(zip(SCRIPTS, script_counts(text).tolist(), strict=True)) == {
        "common": 11,
        "other": 5,
        "latin": 5,
        "han": 2,
        "kana": 4,
        "hangul": 2,
        "cyrillic": 6,
    }
