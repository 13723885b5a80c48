"""Tools over HTTP, by the official client: offered in the prompt, called in the answer, their results sent back."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from setsail.base.tool_calls import Call, write_answer
from setsail.serve.calls import CallReader

from .conftest import LEAD, Running

WEATHER: Any = {
    "type": "function",
    "function": {"name": "weather", "description": "The sky over a city", "parameters": {"type": "object"}},
}
CALL = write_answer("", [Call("weather", {"city": "Paris"})])
STOP = " :resu"  # what the echo writes behind the reversed question


@pytest.fixture
def official(server: Running) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)


def asked(answer: str, **options: Any) -> Any:
    """A request that the echo answers with `LEAD` and this."""
    message = {"role": "user", "content": answer[::-1]}
    return {"model": "support", "messages": [message], "tools": [WEATHER], "stop": [STOP], **options}


def test_a_call_comes_as_a_call(official: openai.OpenAI) -> None:
    choice = official.chat.completions.create(**asked(CALL)).choices[0]
    assert choice.finish_reason == "tool_calls" and choice.message.content == LEAD.rstrip()
    (call,) = choice.message.tool_calls or []
    assert call.type == "function" and call.function.name == "weather" and call.id.startswith("call_")
    assert json.loads(call.function.arguments) == {"city": "Paris"}


def test_calls_stream_whole_behind_the_text(official: openai.OpenAI) -> None:
    two = write_answer("Wait < 5.", [Call("weather", {"city": "Paris"}), Call("weather", {"city": "Rome"})])
    chunks = list(official.chat.completions.create(**asked(two, stream=True)))
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert "".join(delta.content or "" for delta in deltas) == f"{LEAD}Wait < 5."
    calls = [call for delta in deltas for call in delta.tool_calls or []]
    assert [call.index for call in calls] == [0, 1]
    assert [json.loads(call.function.arguments)["city"] for call in calls] == ["Paris", "Rome"]
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_no_call_is_text(official: openai.OpenAI, stream: bool) -> None:
    broken = "<tool_call>\n{broken"
    answer = official.chat.completions.create(**asked(broken, stream=stream))
    if stream:
        chunks = [chunk.choices[0] for chunk in answer if chunk.choices]
        text, reason = "".join(chunk.delta.content or "" for chunk in chunks), chunks[-1].finish_reason
    else:
        text, reason = answer.choices[0].message.content, answer.choices[0].finish_reason
    assert (text, reason) == (LEAD + broken, "stop")


@pytest.mark.parametrize("options", [{"tools": []}, {"tool_choice": "none"}])
def test_where_no_tool_is_offered_nothing_is_read_as_a_call(official: openai.OpenAI, options: Any) -> None:
    choice = official.chat.completions.create(**asked(CALL, **options)).choices[0]
    assert choice.message.content == LEAD + CALL and not choice.message.tool_calls


def test_the_tools_are_in_the_prompt_and_a_result_can_be_returned(official: openai.OpenAI) -> None:
    first = official.chat.completions.create(**asked(CALL))
    bare = official.chat.completions.create(**asked(CALL, tools=openai.omit))
    assert first.usage and bare.usage and first.usage.prompt_tokens > bare.usage.prompt_tokens + 100
    message = first.choices[0].message
    (call,) = message.tool_calls or []
    result: Any = {"role": "tool", "tool_call_id": call.id, "content": "raelc"}
    history = [{"role": "user", "content": "How is it?"}, message, result]
    again = official.chat.completions.create(model="support", messages=history, tools=[WEATHER], max_tokens=60)
    assert ">esnopser_loot/<\nclear\n>esnopser_loot<" in (again.choices[0].message.content or "")


def test_a_result_that_nothing_called_is_refused(server: Running) -> None:
    body = {"model": "support", "messages": [{"role": "user", "content": "a"}, {"role": "tool", "content": "b"}]}
    refused = server.post("/v1/chat/completions", body)
    assert refused.status_code == 400 and refused.json()["error"]["param"] == "messages[1]"


@given(st.lists(st.sampled_from(["<", "<tool", "_call>", "a", "\n", CALL, "<tool_call>", "{"]), max_size=8), st.data())
def test_nothing_is_lost_however_the_answer_comes_in_pieces(words: list[str], data: st.DataObject) -> None:
    answer = "".join(words)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(answer)), max_size=5)))
    whole = CallReader(offered=True)
    at_once = whole.push(answer)
    rest, calls = whole.finish()
    reader = CallReader(offered=True)
    shown = "".join(reader.push(answer[a:b]) for a, b in zip([0, *cuts], [*cuts, len(answer)], strict=True))
    assert (shown + (last := reader.finish())[0], last[1]) == (at_once + rest, calls)
    assert calls or at_once + rest == answer
