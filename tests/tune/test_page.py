"""The record, the table and the page of a search, in both languages."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from setsail.base.page.words import Language
from setsail.tune.page import build, document, verdict
from setsail.tune.record import Record, curve_of, settings_line, table, write_record
from setsail.tune.trial import Trial
from setsail.tune.words import NAMES, PHRASES, words_in

LSTM = {"new": "1m", "kind": "lstm"}
TRIALS = (
    Trial(0, "complete", {"base": "linear", "penalty": 10.0}, 0.5, 2.0, 2.0),
    Trial(1, "complete", {"base": "net", "rate": 0.001}, 0.7, 30.0, 32.0, facts={"is_own": True}),
    Trial(2, "complete", {"base": LSTM, "rate": 0.00031622}, 0.4, 20.0, 52.0),
    Trial(3, "pruned", {"base": "net", "rate": 0.1}, None, 5.0, 57.0, why="others were better by then"),
    Trial(4, "failed", {"base": "net", "rate": 0.2}, None, 1.0, 58.0, why="<b>no</b> | memory"),
    Trial(5, "waiting", {"base": "net", "rate": 0.01}),
    Trial(6, "complete", {"base": LSTM, "rate": 0.00031622}, 0.4, 0.0, 59.0, same_as=2),
)


def record(best: int | None = 2, recipe_trial: int | None = 2) -> Record:
    return Record(
        name="desk",
        measure="nats_per_row",
        ended="time",
        seconds=60.0,
        budget_seconds=60.0,
        space={"rate": {"low": 1e-5, "high": 0.1, "log": True}},
        trials=TRIALS if best is not None else (),
        best=best,
        recipe_trial=recipe_trial,
        importance={"rate": 0.75, "base": 0.25} if best is not None else {},
        curve=curve_of(TRIALS),
        test={"macro_f1": (0.9, 0.85, 0.95)} if best is not None else {},
    )


def test_the_curve_holds_only_what_was_better_than_all_before() -> None:
    assert curve_of(TRIALS) == ((2.0, 0.5, 0), (52.0, 0.4, 2))


def test_the_table_has_each_setting_once_and_the_best_first() -> None:
    lines = table(record())
    assert [int(line.split()[0]) for line in lines[1:]] == [2, 0, 1]
    assert settings_line(TRIALS[2]) == "base new 1m lstm  rate 0.0003162"
    assert settings_line(Trial(0, "running", {"base": "../../encoder", "on": True})) == "base encoder  on true"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_says_everything_in_its_language(language: Language, tmp_path: Path) -> None:
    build(tmp_path, record(), language=language, drawn="<svg></svg>")
    html, text = ((tmp_path / name).read_text("utf-8") for name in ("tune.html", "tune.md"))
    for page in (html, text):
        assert "0.4000" in page and "new 1m lstm" in page and "75%" in page and "0.9000" in page
        assert "<b>no</b>" not in page
        for name in ("pruned", "failed", "waiting", "nats_per_row", "time"):
            assert NAMES[name][language == "zh"] in page
    chapters = [chapter.anchor for chapter in document(record(), words_in(language), "<svg></svg>").chapters]
    assert chapters == ["test", "curve", "importance", "trials"]
    assert not re.search(r"\{[a-z]+\}", html.split("</style>")[1])


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_search_without_a_score_has_a_page_too(language: Language, tmp_path: Path) -> None:
    build(tmp_path, record(None, None), language=language)
    assert PHRASES["verdict_none"][language == "zh"] in (tmp_path / "tune.html").read_text("utf-8")


def test_what_won_is_said() -> None:
    assert verdict(record(), "en").startswith("Trial 2 is the best of 4: nats per row 0.4000, with base new 1m lstm")
    assert "none was better than the recipe as it was" in verdict(record(1, 1), "en")
    assert "best.yaml is the best recipe of those that train a network" in verdict(record(0, 2), "en")
    assert "linear" not in verdict(record(), "en")


def test_every_phrase_has_both_languages() -> None:
    for key, (english, chinese) in {**PHRASES, **NAMES}.items():
        assert english and re.search("[\u4e00-\u9fff]", chinese), key
        assert set(re.findall(r"\{(\w+)\}", english)) == set(re.findall(r"\{(\w+)\}", chinese)), key


def test_the_record_reads_back(tmp_path: Path) -> None:
    write_record(tmp_path, record())
    said = json.loads((tmp_path / "tune.json").read_text("utf-8"))
    assert said["better"] == "lower" and said["best"] == 2 and len(said["trials"]) == len(TRIALS)
    assert said["trials"][2]["settings"]["base"] == LSTM and said["test"]["macro_f1"] == [0.9, 0.85, 0.95]
