"""What columns mean to tasks that say something of a text, and what is dropped with which reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from setsail.base.errors import DataError
from setsail.base.recipe_data import Data
from setsail.base.target import Span, labels_of, score_of, spans_of
from setsail.data import sources
from setsail.data.formats import recognise, to_row
from setsail.data.read_formats import asked_row
from setsail.data.reading import Known, understand
from setsail.data.row import Drop, Record, Row, Unfit, contents
from setsail.data.spans import follow, moved


def read(task: str, fields: dict[str, Any], *, name: str = "auto", columns: dict[str, str] | None = None) -> Row | Drop:
    return to_row(Record("rows.jsonl:1", fields), recognise(list(fields), task=task, name=name, columns=columns))


def kept(task: str, fields: dict[str, Any], *, name: str = "auto", columns: dict[str, str] | None = None) -> Row:
    row = read(task, fields, name=name, columns=columns)
    assert isinstance(row, Row), row
    return row


def marked(row: Row) -> list[tuple[str, str]]:
    text = contents(row)[-1]
    return [(text[start:end], label) for start, end, label in spans_of(row.target)]


@pytest.mark.parametrize("value", [3, 3.0, "3", " 3.0 "])
def test_a_score_is_a_number_however_it_is_written(value: object) -> None:
    row = kept("regress", {"text": "fine", "stars": value})
    assert score_of(row.target) == 3.0 and row.text == "fine" and row.label == ""


@pytest.mark.parametrize("value", ["good", None, "", "nan", float("inf"), True])
def test_what_is_no_number_is_no_score(value: object) -> None:
    dropped = read("regress", {"text": "fine", "score": value})
    assert isinstance(dropped, Drop) and dropped.reason == "no_score"


@pytest.mark.parametrize(
    "names", [("rubric", "answer", "grade"), ("题目", "作答", "得分"), ("question", "text", "score")]
)
def test_a_grade_is_of_an_answer_beside_its_rubric(names: tuple[str, str, str]) -> None:
    record = dict(zip(names, ("What is 2 + 2?", "It is 4.", 5), strict=True))
    columns = {"text": names[1]} if names[1] == "answer" else {}
    row = kept("grade", record, columns=columns)
    assert contents(row) == ("What is 2 + 2?", "It is 4.") and score_of(row.target) == 5.0
    dropped = read("grade", {**record, names[0]: " "}, columns=columns)
    assert isinstance(dropped, Drop) and dropped.detail == "rubric is empty"


def test_a_line_is_a_text_a_tab_and_its_score() -> None:
    row = kept("regress", {"text": "abandon \t-1.9\t0.53\t[-2, -1]"}, name="scored_lines")
    assert (row.text, score_of(row.target)) == ("abandon", -1.9)


@pytest.mark.parametrize(("line", "detail"), [("abandon -1.9", "no tab"), ("abandon\tbad", "no number: 'bad'")])
def test_a_line_without_a_score_says_what_it_holds(line: str, detail: str) -> None:
    dropped = read("regress", {"text": line}, name="scored_lines")
    assert isinstance(dropped, Drop) and dropped.reason == "no_score" and detail in dropped.detail


@pytest.mark.parametrize("value", [["b", "a"], '["b", "a"]', "b | a", "a;b", "b、a", ["a", "b", "a", " "]])
def test_several_labels_in_any_of_their_spellings(value: object) -> None:
    assert labels_of(kept("classify", {"text": "x", "labels": value}).target) == ("a", "b")


def test_no_label_at_all_is_an_answer_too() -> None:
    assert labels_of(kept("classify", {"text": "x", "labels": []}).target) == ()


@pytest.mark.parametrize(
    "spans",
    [
        [[0, 3, "PER"], [13, 17, "LOC"]],
        '[[0, 3, "PER"], [13, 17, "LOC"]]',
        [{"start": 13, "end": 17, "label": "LOC"}, {"start": 0, "end": 3, "type": "PER"}],
        [{"text": "Ann", "label": "PER"}, {"text": "Rome", "label": "LOC"}],
    ],
)
def test_marked_parts_as_offsets_or_as_what_they_say(spans: object) -> None:
    row = kept("tag", {"text": "Ann lives in Rome.", "entities": spans})
    assert marked(row) == [("Ann", "PER"), ("Rome", "LOC")]


@pytest.mark.parametrize(
    ("spans", "reason", "detail"),
    [
        ([[0, 99, "PER"]], "bad_span", "from 0 to 99 in a text of 18"),
        ([[-1, 3, "PER"]], "bad_span", "from -1 to 3"),
        ([[3, 3, "PER"]], "bad_span", "from 3 to 3"),
        ([[3, 4, "PER"]], "bad_span", "holds nothing"),
        ([[0, 3, ""]], "bad_span", "no label"),
        ([[0.0, 3, "PER"]], "bad_span", "whole numbers"),
        ([[0, 3]], "bad_span", "[start, end, label]"),
        ([[0, 9, "A"], [4, 12, "B"]], "bad_span", "overlap"),
        ([{"text": "Bob", "label": "PER"}], "unknown_entity", "does not stand in the text"),
        ("[[0, 3", "broken_json", "not valid JSON"),
    ],
)
def test_a_part_that_is_none_of_the_texts_is_dropped_with_its_place(spans: object, reason: str, detail: str) -> None:
    dropped = read("tag", {"text": "Ann lives in Rome.", "spans": spans})
    assert isinstance(dropped, Drop) and (dropped.reason, detail in dropped.detail) == (reason, True), dropped


def test_words_with_tags_become_a_text_with_parts() -> None:
    row = kept(
        "tag",
        {
            "tokens": ["Ann", "Lee", "met", "Bo", "in", "New", "York"],
            "tags": ["B-P", "I-P", "O", "B-P", "O", "B-L", "I-L"],
        },
    )
    assert row.text == "Ann Lee met Bo in New York" and marked(row) == [
        ("Ann Lee", "P"),
        ("Bo", "P"),
        ("New York", "L"),
    ]
    chinese = kept("tag", {"tokens": list("王明在北京"), "ner_tags": ["B-PER", "I-PER", "O", "B-LOC", "I-LOC"]})
    assert chinese.text == "王明在北京" and marked(chinese) == [("王明", "PER"), ("北京", "LOC")]


@pytest.mark.parametrize("tags", [["O"], ["0", "1"]])
def test_tags_that_do_not_fit_their_words(tags: list[str]) -> None:
    dropped = read("tag", {"tokens": ["a", "b"], "tags": tags})
    assert isinstance(dropped, Drop) and dropped.reason == "bad_span"


def test_a_newspapers_parts_of_speech_hold_names() -> None:
    line = "１９９８/m 江/nr 泽民/nr 在/p [中共/n 中央/n]nt 会见/v 上海/ns 代表/n"
    row = kept("tag", {"text": line}, name="words_pos")
    assert row.text == "１９９８江泽民在中共中央会见上海代表"
    assert marked(row) == [("江泽民", "PER"), ("中共中央", "ORG"), ("上海", "LOC")]


def test_a_relation_marks_head_and_tail() -> None:
    row = kept("relate", {"text": "Ann lives in Rome.", "subject": "Ann", "object": [13, 17], "predicate": "lives in"})
    assert row.label == "lives in" and marked(row) == [("Ann", "head"), ("Rome", "tail")]


@pytest.mark.parametrize(
    ("head", "tail", "relation", "reason"),
    [
        ("Bob", "Rome", "lives in", "unknown_entity"),
        ("", "Rome", "lives in", "unknown_entity"),
        ("Ann", "Ann lives", "lives in", "bad_span"),
        ("Ann", "Rome", " ", "no_label"),
        ("Ann", 7, "lives in", "wrong_type"),
    ],
)
def test_a_triple_whose_names_are_not_there(head: object, tail: object, relation: str, reason: str) -> None:
    fields = {"text": "Ann lives in Rome.", "head": head, "tail": tail, "relation": relation}
    dropped = read("relate", fields)
    assert isinstance(dropped, Drop) and dropped.reason == reason


@pytest.mark.parametrize(
    "answers",
    [
        {"text": ["Rome"], "answer_start": [13]},
        '{"text": ["Rome"], "answer_start": [13]}',
        [{"text": "Rome", "answer_start": 13}],
        {"text": ["Rome"]},
        ["Rome"],
        [{"text": "Rome", "answer_start": 12}],
    ],
)
def test_answers_are_where_they_stand(answers: object) -> None:
    row = kept("answer", {"question": "Where?", "context": "Ann lives in Rome.", "answers": answers})
    assert marked(row) == [("Rome", "answer")] and [m["role"] for m in row.messages] == ["question", "context"]


@pytest.mark.parametrize(
    ("answer", "found"),
    [("a house in Rome", "a house in Rome"), ("40,000", "40 , 000"), ("don't", "don ' t"), ("Rome .", "Rome.")],
)
def test_an_answer_is_one_text_whatever_its_white_space(answer: str, found: str) -> None:
    context = "Ann has 40 , 000 and don ' t ask, a house in Rome."
    row = kept("answer", {"question": "What?", "context": context, "answers": answer})
    assert marked(row) == [(found, "answer")]


def test_the_recipe_says_which_answers_are_none() -> None:
    form = replace(recognise(["question", "context", "answers"], task="answer"), no_answer=("unknown",))
    fields = {"question": "When?", "context": "Ann lives in Rome.", "answers": "unknown"}
    row = to_row(Record("rows.jsonl:1", fields), form)
    assert isinstance(row, Row) and marked(row) == []
    told = read("answer", fields)
    assert isinstance(told, Drop) and "'unknown'" in told.detail


@pytest.mark.parametrize("answers", [[], {"text": [], "answer_start": []}, None, ""])
def test_a_question_may_have_no_answer(answers: object) -> None:
    row = kept("answer", {"question": "Where?", "context": "Ann lives in Rome.", "answers": answers})
    assert spans_of(row.target) == ()


@pytest.mark.parametrize(
    ("answers", "context", "reason"),
    [
        (["Oslo"], "Ann lives in Rome.", "answer_not_in_context"),
        ([{"text": "a", "answer_start": 1}], "a b a", "answer_not_in_context"),
        ([""], "Ann lives in Rome.", "bad_span"),
        (["Rome"], " ", "empty_text"),
    ],
)
def test_an_answer_that_is_not_there(answers: object, context: str, reason: str) -> None:
    dropped = read("answer", {"question": "Where?", "context": context, "answers": answers})
    assert isinstance(dropped, Drop) and dropped.reason == reason


def test_questions_on_one_context_are_of_one_group() -> None:
    asked = [
        kept("answer", {"question": q, "context": "Ann lives in Rome.", "answers": []}) for q in ("Who?", "Where?")
    ]
    assert asked[0].group == asked[1].group != ""


@pytest.mark.parametrize(
    ("task", "columns", "wanted"),
    [
        ("tag", ["text", "label"], "text and spans"),
        ("regress", ["text"], "text and score"),
        ("relate", ["head", "relation", "tail"], "task: relate"),
        ("answer", ["question", "answer"], "question and context and answers"),
    ],
)
def test_columns_that_a_task_cannot_read_are_told(task: str, columns: list[str], wanted: str) -> None:
    with pytest.raises(DataError) as refused:
        recognise(columns, task=task)
    assert wanted in f"{refused.value} {refused.value.hint}"


def test_a_form_of_another_task_is_refused_by_its_name() -> None:
    with pytest.raises(DataError, match="task tag does not read the form messages"):
        recognise(["messages"], task="tag", name="messages")


def test_what_is_asked_of_a_model_is_read_as_rows_are() -> None:
    asked = asked_row("relate", {"text": "Ann lives in Rome.", "head": "Ann", "tail": "Rome"})
    assert marked(asked) == [("Ann", "head"), ("Rome", "tail")]
    with pytest.raises(Unfit):
        asked_row("tag", {"text": "  "})


def test_parts_move_with_what_cleaning_takes_away() -> None:
    before = kept("tag", {"text": "<b>Ann</b>  lives in  Rome ", "spans": [[3, 6, "PER"], [22, 26, "LOC"]]})
    after = Row(before.id, (), "Ann lives in Rome", "", before.origin, target=before.target)
    followed = follow(after, before)
    assert isinstance(followed, Row) and marked(followed) == [("Ann", "PER"), ("Rome", "LOC")]


def test_a_part_that_is_cleaned_away_takes_its_row_along() -> None:
    before = kept("tag", {"text": "see http://x.y now", "spans": [[4, 14, "URL"]]})
    lost = follow(Row(before.id, (), "see now", "", before.origin, target=before.target), before)
    assert isinstance(lost, Drop) and lost.reason == "span_lost"


def test_a_masked_name_is_still_marked() -> None:
    assert moved([Span(5, 8, "PER")], "call Ann today", "call [NAME] today") == (Span(5, 11, "PER"),)


@given(st.text("ab <>", min_size=1, max_size=40), st.data())
def test_a_part_keeps_what_is_left_of_it(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    after = text.replace("<", "").replace(">", "")
    found = moved([Span(start, end, "X")], text, after)
    left = text[start:end].replace("<", "").replace(">", "").strip()
    if found is None:
        assert left == ""
    else:
        assert after[found[0].start : found[0].end].replace(" ", "") == left.replace(" ", "")


@pytest.mark.parametrize(("column", "file"), [("$file", "{name}.txt"), ("$folder", "{name}/one.txt")])
def test_a_label_may_be_the_name_of_the_file_or_folder(column: str, file: str, tmp_path: Path) -> None:
    for name in ("kind", "unkind"):
        path = tmp_path / file.format(name=name)
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(f"{name} words {number}\n" for number in range(15)), encoding="utf-8")
    data = Data(source=str(tmp_path), columns={"label": column})
    found = [
        item.row
        for place, part in sources.read(data, tmp_path)
        for item in understand(data, place, part, task="classify").items
        if isinstance(item, Known)
    ]
    assert [row.label for row in found] == ["kind"] * 15 + ["unkind"] * 15
