"""What is kept out: benchmark texts by runs of thirteen words, and rows to forget by their ids."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from data.small_rows import pair
from setsail.base.errors import DataError
from setsail.base.recipe_data import Data
from setsail.data import sources
from setsail.data.keep_out import forgotten_ids, read_lists
from setsail.data.row import read_drops
from setsail.data.summary import Summary

Write = Callable[..., Path]
Prepare = Callable[..., Summary]
QUESTION = "Which of these five rivers is the longest one that flows through three or more countries in Asia?"
CHINESE = "下列哪一条河流是亚洲最长的河流并且流经三个以上的国家"


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    read_lists.cache_clear()
    lines = [
        json.dumps({"question": text, "label": "x"}, ensure_ascii=False) for text in (QUESTION, CHINESE, "Too short")
    ]
    (tmp_path / "exam.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path


def test_a_run_of_thirteen_words_is_enough_and_twelve_are_not(lists: Path) -> None:
    kept_out = read_lists(("exam.jsonl",), lists)
    words = QUESTION.split()
    texts = [
        f"As they say: {QUESTION.upper()}!!",
        " ".join(["Well,", *words[2:15], "and so on"]),
        " ".join(["Well,", *words[2:14], "and so on"]),
        f"请问，{CHINESE}？",
        "Too short",
        "",
    ]
    assert kept_out.held_by(texts).tolist() == [True, True, False, True, False, False]


def test_rows_that_hold_a_question_are_dropped_and_counted(lists: Path, jsonl: Write, prepared: Prepare) -> None:
    rows = [pair(n) for n in range(60)]
    rows[7]["prompt"] += f" {QUESTION}"
    jsonl(rows)
    summary = prepared("rows.jsonl", keep_out=("exam.jsonl",))
    assert summary.dropped == {"kept_out": 1} and summary.first_dropped["kept_out"] == ("rows.jsonl:8",)


def test_forgotten_rows_go_and_the_list_is_part_of_the_identity(
    jsonl: Write, prepared: Prepare, tmp_path: Path
) -> None:
    jsonl([pair(n) for n in range(60)])
    with_list = Data(source="rows.jsonl", forget="forget.txt")
    with pytest.raises(DataError, match="setsail forget writes it"):
        forgotten_ids("forget.txt", tmp_path)
    (tmp_path / "forget.txt").write_text("", encoding="utf-8")
    before = sources.fingerprint(with_list, tmp_path)
    prepared("rows.jsonl", forget="forget.txt", max_rows=30)
    first = read_drops(tmp_path / "out" / "dropped.parquet")[0]
    (tmp_path / "forget.txt").write_text(f"# asked on Monday\n{first.id}  # by mail\n", encoding="utf-8")
    assert sources.fingerprint(with_list, tmp_path) != before
    summary = prepared("rows.jsonl", forget="forget.txt", out="after")
    assert summary.dropped == {"forgotten": 1}
    (tmp_path / "forget.txt").write_text("Ann Miller\n", encoding="utf-8")
    with pytest.raises(DataError, match='"Ann" is no row id') as caught:
        prepared("rows.jsonl", forget="forget.txt", out="never")
    assert caught.value.place == "forget.txt:1"
