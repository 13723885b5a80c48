from __future__ import annotations

import pytest
import toy_evaluation as toy

from setsail.base.errors import DataError
from setsail.data.row import Row
from setsail.evaluate.question import answer_bytes, choose_rows, question_of, question_text

TURNS = Row(
    "0" * 16,
    (
        {"role": "system", "content": "You help."},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "réponse"},
        {"role": "user", "content": "第二"},
        {"role": "assistant", "content": "答案"},
    ),
    "",
    "g",
    "chat.jsonl:1",
)


def test_the_last_answer_is_asked_for_with_everything_before_it() -> None:
    question = question_of(TURNS)
    assert (question.prompt, question.reference, question.group) == (TURNS.messages[:4], "答案", "g")
    assert question_text(question.prompt) == "first\nréponse\n第二"


def test_bytes_are_those_of_every_supervised_text() -> None:
    assert answer_bytes(TURNS) == len("réponse".encode()) + len("答案".encode()) == 14
    assert answer_bytes(Row("1" * 16, (), "naïve", "", "t.txt:1")) == 6


def test_a_row_without_an_answer_is_named() -> None:
    with pytest.raises(DataError, match=r"chat.jsonl:1"):
        question_of(Row(TURNS.id, TURNS.messages[:2], "", "", TURNS.origin))


def test_chosen_rows_depend_on_ids_and_seed_only() -> None:
    rows = toy.rows(50)
    chosen = choose_rows(rows, 10, seed=1)
    assert len(chosen) == 10 and chosen == [row for row in rows if row in chosen]
    assert {row.id for row in choose_rows(rows[::-1], 10, seed=1)} == {row.id for row in chosen}
    assert choose_rows(rows, 10, seed=2) != chosen
    assert choose_rows(rows, 50, seed=1) == rows
