"""Formats by columns: recognised, mapped, and every unusable record with its reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from setsail.base.errors import DataError
from setsail.data.formats import Format, recognise, to_row
from setsail.data.row import Drop, Record, Row


def _turned(fields: dict[str, object], **options: str) -> Row | Drop:
    return to_row(Record("f:1", fields), recognise(fields), **options)


def _said(fields: dict[str, object]) -> list[tuple[str, str]]:
    row = _turned(fields)
    assert isinstance(row, Row), row
    return [(message["role"], message["content"]) for message in row.messages]


TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
PAIR = [("user", "Hi"), ("assistant", "Hello")]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"messages": TURNS}, PAIR),
        ({"messages": '[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]'}, PAIR),
        ({"messages": [{"role": "developer", "content": "S"}, *TURNS]}, [("system", "S"), *PAIR]),
        ({"messages": [TURNS[0], {"role": "assistant", "content": [{"type": "text", "text": "Hello"}]}]}, PAIR),
        ({"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}, PAIR),
        ({"conversations": TURNS, "system": "S"}, [("system", "S"), *PAIR]),
        ({"instruction": "Hi", "input": "", "output": "Hello"}, PAIR),
        ({"instruction": "Add", "input": "1 2", "output": "3"}, [("user", "Add\n1 2"), ("assistant", "3")]),
        (
            {"instruction": "Hi", "output": "Hello", "history": [["a", "b"]], "system": "S"},
            [("system", "S"), ("user", "a"), ("assistant", "b"), *PAIR],
        ),
        ({"prompt": "Hi", "completion": "Hello"}, PAIR),
        ({"Question": "Hi", "Answer": "Hello"}, PAIR),
        ({"prompt": [TURNS[0]], "completion": [TURNS[1]]}, PAIR),
    ],
)
def test_each_format(fields: dict[str, object], expected: list[tuple[str, str]]) -> None:
    assert _said(fields) == expected


def test_a_text_in_lines_is_joined() -> None:
    lines = ["牀前看月光，疑是地上霜。", "舉頭望山月，低頭思故鄉。"]
    form = recognise(["title", "paragraphs"], columns={"text": "paragraphs"})
    row = to_row(Record("poems.json:1", {"title": "靜夜思", "paragraphs": lines}), form)
    assert isinstance(row, Row) and row.text == "\n".join(lines)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"messages": []}, "no_answer"),
        ({"messages": TURNS[:1]}, "no_answer"),
        ({"messages": [TURNS[0], {"role": "assistant", "content": None}]}, "no_answer"),
        ({"messages": TURNS[1:]}, "no_question"),
        ({"messages": [{"role": "user", "content": " "}, TURNS[1]]}, "empty_turn"),
        ({"messages": [TURNS[0], {"role": "hacker", "content": "x"}]}, "unknown_role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}, TURNS[1]]}, "not_text"),
        ({"messages": [*TURNS, {"role": "system", "content": "x"}, *TURNS]}, "late_system"),
        ({"messages": "[broken"}, "broken_json"),
        ({"messages": 5}, "wrong_type"),
        ({"messages": ["hello"]}, "wrong_type"),
        ({"prompt": "Hi", "completion": 5}, "wrong_type"),
        ({"prompt": "Hi", "completion": "\n"}, "no_answer"),
        ({"instruction": "Hi", "output": "x", "history": ["a"]}, "wrong_type"),
        ({"text": "  "}, "empty_text"),
    ],
)
def test_each_reason(fields: dict[str, object], reason: str) -> None:
    drop = _turned(fields)
    assert isinstance(drop, Drop) and drop.reason == reason


def test_columns_of_the_recipe_come_first() -> None:
    form = recognise(["id", "frage", "antwort"], columns={"prompt": "frage", "completion": "antwort"})
    assert form == Format("prompt_completion", {"prompt": "frage", "completion": "antwort"})
    assert recognise(["prompt", "completion", "body"], columns={"text": "body"}).name == "text"
    assert recognise(["prompt", "completion", "text"], name="text").name == "text"


@pytest.mark.parametrize(
    ("found", "options", "words", "hint"),
    [
        (
            ["a", "b"],
            {},
            "no columns for chosen and rejected or messages or .*; found: a, b",
            "data.columns: {prompt: question",
        ),
        ([], {}, "found: none", "data.columns"),
        (["frage"], {"columns": {"prompt": "fragen"}}, 'no column "fragen"; found: frage', 'did you mean "frage"?'),
        (["a"], {"columns": {"promt": "a"}}, 'no part "promt"', 'did you mean "prompt"?'),
        (
            ["prompt"],
            {"name": "prompt_completion"},
            "no columns for prompt and completion; found: prompt",
            "data.columns",
        ),
    ],
)
def test_nothing_fits(found: list[str], options: dict[str, object], words: str, hint: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        recognise(found, **options)  # pyright: ignore[reportArgumentType]
    assert hint in str(caught.value.hint)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content", "from"]), inner),
    max_leaves=8,
)


@given(st.sampled_from(["messages", "conversations", "prompt", "instruction", "text"]), _json, _json)
def test_any_record_is_one_row_or_one_drop_with_the_same_id(first: str, value: object, other: object) -> None:
    partner = {"prompt": "completion", "instruction": "output"}.get(first, "note")
    fields = {first: value, partner: other}
    one, two = _turned(fields), _turned(fields, system="S")
    assert one.id == two.id and one.origin == "f:1"
    if isinstance(one, Row):
        assert bool(one.messages) != bool(one.text)


@pytest.mark.parametrize(
    ("columns", "words", "hint"),
    [
        (["translation"], "the column translation holds several languages", "data.languages: [en, zh]"),
        (["id", "en", "zh"], r"aligned columns \(en, zh\)", "data.columns: {prompt: en, completion: zh}"),
        (["原文", "english"], r"aligned columns \(原文, english\)", "{prompt: 原文, completion: english}"),
        (["head", "relation", "tail"], "triples of a knowledge graph", "write task: relate"),
    ],
)
def test_what_is_known_and_cannot_be_used_yet_is_said_with_what_works(
    columns: list[str], words: str, hint: str
) -> None:
    with pytest.raises(DataError, match=words) as caught:
        recognise(columns)
    assert hint in str(caught.value.hint)


def test_squad_is_a_question_about_a_text() -> None:
    form = recognise(["id", "title", "context", "question", "answers"])
    assert form.name == "squad"
    fields = {
        "context": "启航始于2026年。",
        "question": "何时？",
        "answers": {"text": ["2026年", "那年"], "answer_start": [4, 0]},
    }
    row = to_row(Record("a:1", fields), form)
    assert isinstance(row, Row)
    assert [m["content"] for m in row.messages] == ["启航始于2026年。\n\n何时？", "2026年"]
    nested = to_row(Record("a:1", {**fields, "answers": [{"text": "2026年"}]}), form)
    assert isinstance(nested, Row) and nested.messages[1]["content"] == "2026年"
    for none in ({"text": []}, None, "x", {"text": 3}, []):
        assert isinstance(to_row(Record("a:1", {**fields, "answers": none}), form), Drop)
