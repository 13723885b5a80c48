"""Pairs of answers in each form that people have, and every reason why one is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from setsail.base.errors import DataError
from setsail.data.formats import for_task, recognise, to_row
from setsail.data.inspect import inspect
from setsail.data.row import Drop, Record, Row, read_rows, write_rows
from setsail.stages.beginning import recipe_text


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def said(role: str, content: str) -> dict[str, str]:
    return {"from": role, "value": content}


def turned(fields: dict[str, object], **options: str) -> Row | Drop:
    return to_row(Record("f:1", fields), recognise(fields), **options)


ASKED, GOOD, BAD = turn("user", "Hi"), turn("assistant", "Hello"), turn("assistant", "Go away")
PAIR = [ASKED, GOOD, turn("rejected", "Go away")]
REFUSED = said("gpt", "Go away")
ALPACA = {"instruction": "Add", "input": "1 2", "chosen": "3", "rejected": "4"}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"prompt": "Hi", "chosen": "Hello", "rejected": "Go away"}, PAIR),
        ({"prompt": [ASKED], "chosen": [GOOD], "rejected": [BAD]}, PAIR),
        ({"chosen": [ASKED, GOOD], "rejected": [ASKED, BAD]}, PAIR),
        ({"prompt": "Hi", "chosen": [ASKED, GOOD], "rejected": [ASKED, BAD], "messages": [ASKED, GOOD]}, PAIR),
        ({"prompt": "Hi", "chosen": [GOOD], "rejected": [BAD]}, PAIR),
        ({"conversations": [said("human", "Hi")], "chosen": said("gpt", "Hello"), "rejected": REFUSED}, PAIR),
        (
            {
                "conversations": [said("system", "S"), said("human", "a"), said("gpt", "b"), said("human", "Hi")],
                "chosen": said("gpt", "Hello"),
                "rejected": said("gpt", "Go away"),
            },
            [turn("system", "S"), turn("user", "a"), turn("assistant", "b"), *PAIR],
        ),
        ({"instruction": "Hi", "input": "", "chosen": "Hello", "rejected": "Go away"}, PAIR),
        (
            {**ALPACA, "history": [["a", "b"]], "system": "S"},
            [
                *(turn("system", "S"), turn("user", "a"), turn("assistant", "b")),
                *(turn("user", "Add\n1 2"), turn("assistant", "3"), turn("rejected", "4")),
            ],
        ),
        (
            {"chosen": [ASKED, GOOD, ASKED, GOOD], "rejected": [ASKED, GOOD, ASKED, BAD]},
            [ASKED, GOOD, *PAIR],
        ),
    ],
)
def test_each_form(fields: dict[str, object], expected: list[dict[str, str]]) -> None:
    row = turned(fields)
    assert isinstance(row, Row), row
    assert list(row.messages) == expected


def test_the_recipes_system_prompt_stands_before_the_pair() -> None:
    row = turned({"prompt": "Hi", "chosen": "Hello", "rejected": "No"}, system="Be kind.")
    assert isinstance(row, Row)
    assert [message["role"] for message in row.messages] == ["system", "user", "assistant", "rejected"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"prompt": "Hi", "chosen": "Hello", "rejected": " Hello\n"}, "same_answers"),
        ({"prompt": "Hi", "chosen": "Hello", "rejected": ""}, "no_rejected"),
        ({"prompt": "Hi", "chosen": None, "rejected": "No"}, "no_answer"),
        ({"prompt": "", "chosen": "Hello", "rejected": "No"}, "empty_turn"),
        ({"chosen": "Hello", "rejected": "No"}, "empty_turn"),
        ({"chosen": [GOOD], "rejected": [BAD], "prompt": [BAD]}, "no_question"),
        ({"chosen": [ASKED, GOOD], "rejected": [turn("user", "Other"), BAD]}, "long_pair"),
        ({"chosen": [ASKED, GOOD, ASKED, GOOD], "rejected": [ASKED, BAD]}, "long_pair"),
        ({"chosen": [ASKED, GOOD], "rejected": [ASKED]}, "long_pair"),
        ({"chosen": [ASKED, GOOD], "rejected": [ASKED, GOOD]}, "same_answers"),
        ({"chosen": 5, "rejected": "No", "prompt": "Hi"}, "wrong_type"),
    ],
)
def test_each_reason(fields: dict[str, object], reason: str) -> None:
    drop = turned(fields)
    assert isinstance(drop, Drop) and drop.reason == reason, drop


def test_pairs_are_for_recipes_that_prefer_and_nothing_else_is() -> None:
    pairs = recognise(["frage", "chosen", "rejected"], columns={"prompt": "frage"})
    assert for_task(pairs, "preference", "f") == pairs
    with pytest.raises(DataError, match="pairs of answers") as caught:
        for_task(pairs, "chat", "f")
    assert "finetune: {prefer: {}}" in str(caught.value.hint)
    assert "data.columns: {prompt: frage, completion: chosen}" in str(caught.value.hint)
    with pytest.raises(DataError, match="needs a chosen and a rejected answer"):
        for_task(recognise(["prompt", "completion"]), "preference", "f")


def test_the_chosen_answers_alone_can_still_be_learned() -> None:
    form = recognise(["prompt", "chosen", "rejected"], columns={"prompt": "prompt", "completion": "chosen"})
    assert for_task(form, "chat", "f").name == "prompt_completion"
    row = to_row(Record("f:1", {"prompt": "Hi", "chosen": "Hello", "rejected": "No"}), form)
    assert isinstance(row, Row) and [message["content"] for message in row.messages] == ["Hi", "Hello"]


def test_a_pair_comes_back_from_parquet(tmp_path: Path) -> None:
    row = turned({"prompt": "Hi", "chosen": "Hello", "rejected": "No"})
    assert isinstance(row, Row)
    write_rows(tmp_path / "rows.parquet", [row])
    assert read_rows(tmp_path / "rows.parquet") == [row]


def test_a_recipe_for_pairs_says_so(tmp_path: Path) -> None:
    lines = [f'{{"prompt": "Q{n}?", "chosen": "Yes {n}", "rejected": "No {n}"}}' for n in range(30)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines), encoding="utf-8")
    seen = inspect(tmp_path / "pairs.jsonl")
    assert (seen.format, seen.task, seen.num_usable) == ("preference", "preference", 30)
    text = recipe_text(seen, "pairs", "pairs.jsonl")
    assert "task: chat " in text and "prefer: {beta: 0.1}" in text
