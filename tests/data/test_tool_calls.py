"""Calls of tools in records: OpenAI's form and ShareGPT's, and every reason why a row is left out."""

from __future__ import annotations

import json

import pytest

from setsail.data.formats import recognise, to_row
from setsail.data.row import Drop, Record, Row

WEATHER = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
WRAPPED = {"type": "function", "function": WEATHER}
ASKED = {"role": "user", "content": "How is it in Paris?"}
CALLED = {"role": "assistant", "content": None, "tool_calls": [
    {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
]}  # fmt: skip
TOLD = {"role": "tool", "tool_call_id": "c1", "content": '{"sky": "clear"}'}
ANSWERED = {"role": "assistant", "content": "Clear."}
CALL_TEXT = '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>'
EXPECTED = [
    ("tools", json.dumps([WRAPPED])),
    ("user", "How is it in Paris?"),
    ("assistant", CALL_TEXT),
    ("tool", '{"sky": "clear"}'),
    ("assistant", "Clear."),
]


def turned(fields: dict[str, object]) -> Row | Drop:
    return to_row(Record("f:1", fields), recognise(fields))


def sharegpt(**changes: object) -> dict[str, object]:
    turns = [
        {"from": "human", "value": "How is it in Paris?"},
        {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Paris"}}'},
        {"from": "observation", "value": '{"sky": "clear"}'},
        {"from": "gpt", "value": "Clear."},
    ]
    return {"conversations": turns, "tools": json.dumps([WEATHER]), **changes}


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [ASKED, CALLED, TOLD, ANSWERED], "tools": [WRAPPED]},
        {"messages": [ASKED, CALLED, {**TOLD, "content": {"sky": "clear"}}, ANSWERED], "tools": [json.dumps(WEATHER)]},
        {"messages": [ASKED, CALLED, TOLD, ANSWERED], "tools": [{**WRAPPED, "strict": None}]},  # as Parquet gives it
        sharegpt(),
    ],
)
def test_each_form(fields: dict[str, object]) -> None:
    row = turned(fields)
    assert isinstance(row, Row), row
    assert [(message["role"], message["content"]) for message in row.messages] == EXPECTED


def test_a_row_may_end_with_a_call_and_tools_may_go_unused() -> None:
    row = turned({"messages": [{"role": "system", "content": "S"}, ASKED, CALLED], "tools": [WEATHER]})
    assert isinstance(row, Row)
    assert [message["role"] for message in row.messages] == ["system", "tools", "user", "assistant"]
    unused = turned({"messages": [ASKED, ANSWERED], "tools": [WEATHER]})
    assert isinstance(unused, Row) and unused.messages[0]["role"] == "tools"
    none = turned({"messages": [ASKED, ANSWERED], "tools": "[]"})
    assert isinstance(none, Row) and none.messages[0]["role"] == "user"


def test_two_calls_may_have_two_results() -> None:
    twice = {**CALLED, "tool_calls": CALLED["tool_calls"] * 2, "content": "Both."}
    row = turned({"messages": [ASKED, twice, TOLD, TOLD, ANSWERED], "tools": [WEATHER]})
    assert isinstance(row, Row) and row.messages[2]["content"] == f"Both.\n{CALL_TEXT}\n{CALL_TEXT}"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (sharegpt(tools="[]"), "unknown_tool"),
        (sharegpt(tools='[{"name": "other"}]'), "unknown_tool"),
        (sharegpt(tools="[broken"), "broken_tools"),
        (sharegpt(tools='[{"parameters": {}}]'), "broken_tools"),
        (sharegpt(tools='{"name": "weather"}'), "broken_tools"),
        ({"messages": [ASKED, TOLD, ANSWERED], "tools": [WEATHER]}, "result_without_call"),
        ({"messages": [ASKED, CALLED, TOLD, TOLD, ANSWERED], "tools": [WEATHER]}, "result_without_call"),
        ({"messages": [ASKED, CALLED, ASKED, TOLD, ANSWERED], "tools": [WEATHER]}, "result_without_call"),
        ({"messages": [ASKED, {"role": "assistant", "tool_calls": [{}]}], "tools": [WEATHER]}, "broken_call"),
        (
            {"conversations": [{"from": "human", "value": "a"}, {"from": "function_call", "value": "{broken"}]},
            "broken_call",
        ),
        (
            {
                "messages": [
                    ASKED,
                    {"role": "assistant", "tool_calls": [{"function": {"name": "weather", "arguments": "{"}}]},
                ]
            },
            "broken_call",
        ),
        ({"messages": [ASKED, CALLED, {**TOLD, "content": ""}, ANSWERED], "tools": [WEATHER]}, "empty_turn"),
    ],
)
def test_each_reason(fields: dict[str, object], reason: str) -> None:
    drop = turned(fields)
    assert isinstance(drop, Drop) and drop.reason == reason and drop.origin == "f:1", drop
