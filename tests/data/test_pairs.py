"""Pairs of texts: their formats, what a record lacks, and what all of them together are too little for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from setsail.base.errors import DataError
from setsail.base.log import Log
from setsail.base.recipe_data import Data, Split
from setsail.data.formats import for_task, recognise, to_row
from setsail.data.inspect import inspect
from setsail.data.pairs import negatives_of, query_of, text_of
from setsail.data.prepare import prepare
from setsail.data.row import Drop, Record, Row, read_drops, read_rows


def turned(fields: Mapping[str, object], task: str) -> Row | Drop:
    form = for_task(recognise(fields, task=task), task, "f")
    return to_row(Record("f:1", fields), form)


def said(fields: Mapping[str, object], task: str = "embed") -> tuple[list[tuple[str, str]], str]:
    row = turned(fields, task)
    assert isinstance(row, Row), row
    return [(message["role"], message["content"]) for message in row.messages], row.label


PAIR = [("query", "Q"), ("positive", "P")]


@pytest.mark.parametrize(
    ("fields", "task", "expected"),
    [
        ({"query": "Q", "positive": "P"}, "embed", (PAIR, "")),
        ({"anchor": "Q", "positive": "P", "negative": "N"}, "embed", ([*PAIR, ("negative", "N")], "")),
        (
            {"query": "Q", "positive": "P", "negatives": ["N", "", "M"]},
            "embed",
            ([*PAIR, ("negative", "N"), ("negative", "M")], ""),
        ),
        ({"Question": "Q", "Answer": "P", "kind": "x"}, "embed", (PAIR, "")),
        ({"问题": "Q", "答案": "P"}, "embed", (PAIR, "")),
        ({"sentence1": "Q", "sentence2": "P", "score": 3.50}, "embed", (PAIR, "3.5")),
        ({"title": "Q", "text": "Q\n P"}, "embed", ([("query", "Q"), ("positive", "\n P")], "")),
        ({"query": "Q", "text": "T", "label": 2}, "rank", ([("query", "Q"), ("text", "T")], "2")),
        ({"query": "Q", "document": "T", "relevance": "0.0"}, "rank", ([("query", "Q"), ("text", "T")], "0")),
        ({"query": "Q", "passage": "T", "grade": True}, "rank", ([("query", "Q"), ("text", "T")], "1")),
        ({"prompt": "Q", "completion": "P"}, "rank", (PAIR, "")),
    ],
)
def test_each_format(fields: Mapping[str, object], task: str, expected: object) -> None:
    assert said(fields, task) == expected


@pytest.mark.parametrize(
    ("fields", "task", "reason"),
    [
        ({"query": " ", "positive": "P"}, "embed", "no_query"),
        ({"query": None, "positive": "P"}, "embed", "no_query"),
        ({"query": "Q", "positive": ""}, "embed", "empty_text"),
        ({"title": "Q", "text": " Q "}, "embed", "empty_text"),
        ({"query": "Q", "positive": "P.", "negative": "p"}, "embed", "positive_is_negative"),
        ({"query": "Q", "positive": "P", "negative": ["N", 3]}, "embed", "wrong_type"),
        ({"query": "Q", "positive": ["P"]}, "embed", "wrong_type"),
        ({"query": "Q", "text": "T", "label": "good"}, "rank", "no_number"),
        ({"query": "Q", "text": "T", "label": float("nan")}, "rank", "no_number"),
        ({"query": "Q", "text": "T", "label": ""}, "rank", "no_label"),
        ({"sentence1": "Q", "sentence2": "P", "score": None}, "embed", "no_label"),
    ],
)
def test_each_reason_for_a_drop(fields: Mapping[str, object], task: str, reason: str) -> None:
    drop = turned(fields, task)
    assert isinstance(drop, Drop) and drop.reason == reason, drop


def test_other_tasks_read_these_columns_as_before() -> None:
    assert recognise(["query", "text", "label"], task="classify").name == "text_label"
    assert recognise(["question", "answer"], task="chat").name == "prompt_completion"
    assert recognise(["title", "text"], task="text").name == "text"


def test_columns_are_named_by_the_recipe_and_what_is_missing_is_said() -> None:
    form = recognise(["a", "b"], columns={"query": "a", "positive": "b"}, task="embed")
    assert form.name == "query_positive"
    with pytest.raises(DataError, match=r"no columns for .*query and positive.*found: a, b") as refused:
        recognise(["a", "b"], task="embed")
    assert "data.columns: {query: …, positive: …}" in str(refused.value)
    with pytest.raises(DataError, match="is not for task embed") as refused:
        for_task(recognise(["query", "text", "label"], name="graded"), "embed", "f")
    assert "query, positive" in str(refused.value)
    with pytest.raises(DataError, match="is not for task chat"):
        for_task(recognise(["query", "positive"], name="query_positive"), "chat", "f")


def rows_of(num: int) -> list[dict[str, object]]:
    return [{"query": f"where is number {n}", "positive": f"number {n} lies in drawer {n * 7}"} for n in range(num)]


def graded(num: int, *, grades: Sequence[int] = (0, 2)) -> list[dict[str, object]]:
    return [
        {"query": f"where is number {n}", "text": f"drawer {n} {grade}", "label": grade}
        for n in range(num)
        for grade in grades
    ]


def prepared(
    folder: Path, rows: Sequence[Mapping[str, object]], task: str, **options: object
) -> tuple[Path, list[str]]:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    data = Data(source="rows.jsonl", near_duplicates=1.0, **options)  # pyright: ignore[reportArgumentType]
    found = prepare(data, task=task, seed=1, base_dir=folder, out=folder / "out", log=Log(quiet=True))
    return folder / "out", list(found.findings)


def test_no_query_stands_in_two_parts(tmp_path: Path) -> None:
    out, findings = prepared(tmp_path, graded(60, grades=(0, 1, 2)), "rank", split=Split(validation=0.2, test=0.2))
    parts = [{query_of(row) for row in read_rows(out / f"{part}.parquet")} for part in ("train", "validation", "test")]
    assert all(parts) and not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
    assert "180 pairs of 60 queries and 180 texts" in findings


def test_a_row_keeps_its_texts_and_is_cleaned_and_masked(tmp_path: Path) -> None:
    rows = rows_of(30)
    rows[3] = {"query": "who  is it", "positive": "write to anna@example.org", "negative": "nobody"}
    out, findings = prepared(tmp_path, rows, "embed")
    found = [row for part in ("train", "validation", "test") for row in read_rows(out / f"{part}.parquet")]
    (row,) = [row for row in found if negatives_of(row)]
    assert "anna" not in text_of(row) and negatives_of(row) == ("nobody",) and len(found) == 30
    assert any("masked" in finding for finding in findings)


def test_copies_and_contradictory_grades_go(tmp_path: Path) -> None:
    rows = graded(20)
    rows += [rows[0], {**rows[2], "label": 2}]
    out, _ = prepared(tmp_path, rows, "rank")
    reasons = sorted(drop.reason for drop in read_drops(out / "dropped.parquet"))
    assert reasons == ["contradictory_label", "contradictory_label", "exact_duplicate"]


@pytest.mark.parametrize(
    ("rows", "task", "words", "hint"),
    [
        (graded(30, grades=(1,)), "rank", "every row has the grade 1", "leave the column out"),
        ([{**row, "positive": "the same"} for row in rows_of(30)], "embed", "every row has the same text", "swapped"),
        ([{**row, "query": "the same"} for row in rows_of(30)], "embed", "every row has the same query", "swapped"),
        (
            [{"sentence1": f"a {n}", "sentence2": f"b {n}", "score": 1} for n in range(30)],
            "embed",
            "every row has the score 1",
            "other scores",
        ),
    ],
)
def test_what_cannot_be_learned_is_refused_with_a_row(
    rows: list[dict[str, object]], task: str, words: str, hint: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=words) as refused:
        prepared(tmp_path, rows, task)
    assert "rows.jsonl:1" in str(refused.value) and hint in str(refused.value)


def test_files_with_and_without_grades_are_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name, rows in (("a", graded(20)), ("b", rows_of(20))):
        (tmp_path / "data" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match="some rows have a grade and some have none") as refused:
        prepare(
            Data(source="data", near_duplicates=1.0),
            task="rank",
            seed=1,
            base_dir=tmp_path,
            out=tmp_path / "out",
            log=Log(quiet=True),
        )
    assert "b.jsonl:1" in str(refused.value)


def test_swapped_columns_and_lonely_texts_are_told(tmp_path: Path) -> None:
    long = [
        {"query": "a very long document about " + "things " * 20 + str(n), "positive": f"what {n}"} for n in range(30)
    ]
    assert any("columns are swapped" in finding for finding in prepared(tmp_path, long, "embed")[1])
    (tmp_path / "two").mkdir()
    rows = [*graded(20), {"query": "alone", "text": "one text", "label": 2}]
    assert any("1 queries have a single text" in finding for finding in prepared(tmp_path / "two", rows, "rank")[1])


@pytest.mark.parametrize(("rows", "task"), [(rows_of(30), "embed"), (graded(30), "rank")])
def test_a_look_at_pairs_says_what_they_are_for(rows: list[dict[str, object]], task: str, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    seen = inspect(tmp_path / "rows.jsonl")
    assert seen.task == task and seen.num_usable == len(rows) and not seen.problems
