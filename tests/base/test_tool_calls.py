"""Calls as text: what was written reads back, and what is no call is never taken for one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from setsail.base.tool_calls import Call, calls_in, read_answer, read_call, read_tools, write_answer, write_tools

_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | _text | st.sampled_from(["</tool_call>", "<tool_call>", "\n"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=6,
)
_calls = st.builds(Call, _text.filter(str.strip), st.dictionaries(_text, _json, max_size=3))


@given(_text, st.lists(_calls, max_size=3))
def test_what_is_written_reads_back(text: str, calls: list[Call]) -> None:
    said, found = read_answer(write_answer(text, calls))
    assert list(found) == calls
    assert said == (text if not calls else text.rstrip() if text.strip() else "")


@pytest.mark.parametrize(
    "answer",
    [
        "<tool_call>",
        "<tool_call>\n{broken</tool_call>",
        '<tool_call>["now"]</tool_call>',
        '<tool_call>{"name": ""}</tool_call>',
        '<tool_call>{"name": "now", "arguments": [1]}</tool_call>',
        '<tool_call>{"name": "now", "arguments": {"x": NaN}}</tool_call>',
        '<tool_call>{"name": "now"}</tool_call> and more',
        '<tool_call>{"name": "now"} or so</tool_call>',
        "<tool_call>" + "[" * 10_000,
    ],
)
def test_what_is_no_call_is_told(answer: str) -> None:
    assert calls_in(answer) is None


def test_a_call_is_read_in_each_form() -> None:
    call = Call("now", {"zone": "UTC"})
    assert read_call({"name": "now", "arguments": {"zone": "UTC"}}) == call
    assert (
        read_call({"id": "1", "type": "function", "function": {"name": "now", "arguments": '{"zone": "UTC"}'}}) == call
    )
    assert read_call({"name": "now"}) == read_call({"name": "now", "arguments": ""}) == Call("now", {})


def test_tools_are_written_in_one_form() -> None:
    bare, wrapped = {"name": "now"}, {"type": "function", "function": {"name": "then"}}
    assert [tool["function"]["name"] for tool in read_tools(write_tools([bare, wrapped]))] == ["now", "then"]
    for bad in ([{}], ["now"], [bare, bare], [{"name": 5}]):
        with pytest.raises(ValueError, match="name"):
            write_tools(bad)
    assert json.loads(write_tools([bare]))[0]["type"] == "function"
