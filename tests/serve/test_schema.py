"""Everything that a client can get wrong in a body: refused with a status, a field and words; never our fault."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from setsail.serve.errors import ApiError
from setsail.serve.schema import ChatBody, CompletionBody, read_body, read_json

from .conftest import Running, chat_body

CHAT = "/v1/chat/completions"
JSON = {"Content-Type": "application/json"}


def refusal(kind: Any, body: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read_body(kind, json.dumps(body).encode())
    return caught.value


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"5",
        b'"text"',
        b"\xff\xfe{}",
        b'{"model": "support", "messages": [{"role": "user", "content": "\xc3("}]}',
        b'{"model": "support", "messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"\\udc00": 1, "model": "support", "messages": []}',
        b'{"a":' * 100_000,
        b"[" * 100_000,
        b'{"messages": ' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"model": "support", "temperature": NaN, "messages": [{"role": "user", "content": "a"}]}',
        b'{"model": "support", "temperature": -Infinity, "messages": [{"role": "user", "content": "a"}]}',
        b'{"model": "support", "seed": 1' + b"0" * 5000 + b', "messages": [{"role": "user", "content": "a"}]}',
    ],
    ids=lambda raw: repr(raw[:30]),
)
def test_damaged_bodies(server: Running, raw: bytes) -> None:
    for path in (CHAT, "/v1/completions"):
        response = httpx.post(server.url + path, content=raw, headers=JSON)
        assert response.status_code in (400, 422), response.text
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert httpx.get(server.url + "/health").status_code == 200


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -5),
        ("temperature", 1e308),
        ("temperature", "0.5"),
        ("temperature", True),
        ("temperature", [1]),
        ("top_p", 9),
        ("top_p", 0),
        ("max_tokens", 0),
        ("max_tokens", -1),
        ("max_tokens", 10**12),
        ("max_tokens", 1.5),
        ("max_completion_tokens", 0),
        ("n", 0),
        ("n", 2),
        ("stop", 5),
        ("stop", ["a", "b", "c", "d", "e"]),
        ("stop", [""]),
        ("stop", [1]),
        ("stop", ["a" * 1000]),
        ("seed", "1"),
        ("seed", 2**64),
        ("stream", "yes"),
        ("logprobs", 1),
        ("top_logprobs", 21),
        ("user", 7),
        ("presence_penalty", 0.5),
        ("frequency_penalty", -1),
        ("messages", []),
        ("messages", "hello"),
        ("messages", [5]),
        ("messages", [{"role": "user", "content": "a"}] * 1001),
        ("model", 5),
        ("model", ""),
        ("stream_options", 5),
    ],
)
def test_a_wrong_value_is_a_400_that_names_the_field(server: Running, field: str, value: Any) -> None:
    body = chat_body(logprobs=True) if field == "top_logprobs" else chat_body(stream=field == "stream_options")
    response = server.post(CHAT, body | {field: value})
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"].startswith(field)
    assert field in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"role": "hacker", "content": "a"}, "roles: system, user, assistant"),
        ({"role": "user", "content": None}, "messages[0].content"),
        ({"role": "user"}, "messages[0].content is missing"),
        ({"content": "a"}, "messages[0].role is missing"),
        ({"role": "user", "content": [{"type": "text"}]}, "text part"),
        ({"role": "user", "content": [{"type": "text", "text": 5}]}, "text part"),
        ({"role": "user", "content": ["a"]}, "content part"),
        ({"role": "user", "content": [{"type": "input_audio"}]}, "not understood"),
        ({"role": "assistant", "content": "a", "tool_calls": [{"id": "x"}]}, "tool_calls[0].function is missing"),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]},
            "JSON text of an object",
        ),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[]"}}]},
            "JSON text of an object",
        ),
        ({"role": "user", "content": "a", "tool_calls": [{"function": {"name": "f"}}]}, "belong to an assistant"),
        ({"role": "user", "content": "a", "tool_call_id": "x"}, "belongs to a message of the role tool"),
        ({"role": "assistant", "content": None}, "messages[0].content"),
    ],
)
def test_wrong_messages(message: dict[str, Any], words: str) -> None:
    error = refusal(ChatBody, {"model": "m", "messages": [message]})
    assert error.status == 400 and words in str(error.body())


@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1/x", "http://169.254.169.254/", "http://[::1]/", "http://2130706433/", "file:///etc/passwd"],
)
def test_an_image_address_is_refused_unopened(server: Running, address: str) -> None:
    parts = [{"type": "image_url", "image_url": {"url": address}}]
    response = server.post(CHAT, {"model": "support", "messages": [{"role": "user", "content": parts}]})
    assert response.status_code == 400 and "images are not understood" in response.text


def test_an_unknown_field_is_a_422_with_the_nearest_name(server: Running) -> None:
    response = server.post(CHAT, chat_body(temprature=0.5))
    assert response.status_code == 422
    assert response.json()["error"]["param"] == "temprature"
    assert response.json()["error"]["message"] == 'unknown field "temprature"; did you mean "temperature"?'
    completion = server.post("/v1/completions", {"model": "support", "prompt": "a", "max_token": 5})
    assert completion.status_code == 422
    assert completion.json()["error"]["message"].endswith('did you mean "max_tokens"?')
    nested = server.post(CHAT, {"model": "support", "messages": [{"role": "user", "contents": "a"}]})
    assert nested.status_code == 422 and nested.json()["error"]["message"].endswith('did you mean "content"?')


@pytest.mark.parametrize(
    ("field", "harmless", "wanted"),
    [
        ("functions", [], [{"name": "f"}]),
        ("logit_bias", {}, {"5": 1}),
        ("store", False, True),
        ("function_call", "none", "auto"),
    ],
)
def test_fields_we_do_not_have_are_refused_unless_they_ask_for_nothing(field: str, harmless: Any, wanted: Any) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "a"}]}
    for value in (None, harmless):
        read_body(ChatBody, json.dumps(body | {field: value}).encode())
    error = refusal(ChatBody, body | {field: wanted})
    assert (error.status, error.param) == (400, field) and "not supported" in error.message


@pytest.mark.parametrize(
    "options",
    [
        {"top_logprobs": 2},
        {"stream_options": {"include_usage": True}},
        {"max_tokens": 5, "max_completion_tokens": 6},
    ],
)
def test_options_that_do_not_fit_together(options: dict[str, Any]) -> None:
    assert refusal(ChatBody, chat_body(**options)).status == 400


@pytest.mark.parametrize("prompt", ["", [], ["a", "b"], [[1], [2]], [-1], [1.5], [True], 5, None, {"a": 1}])
def test_wrong_prompts(prompt: Any) -> None:
    error = refusal(CompletionBody, {"model": "m", "prompt": prompt})
    assert error.status == 400 and "prompt" in f"{error.param} {error.message}"


def test_a_token_that_does_not_exist(server: Running) -> None:
    for token_id in (10**6, 10**50):
        response = server.post("/v1/completions", {"model": "support", "prompt": [token_id]})
        assert response.status_code == 400 and "token ids run from 0 to 256" in response.text


def test_nulls_mean_the_default() -> None:
    body = chat_body(temperature=None, stop=None, stream=None, stream_options=None, max_tokens=None, tools=None)
    read = read_body(ChatBody, json.dumps(body).encode())
    assert (read.temperature, read.stop, read.stream) == (0.0, (), False)


def test_an_unknown_model_is_a_404_that_lists_the_known(server: Running) -> None:
    response = server.post(CHAT, chat_body() | {"model": "gpt-4"})
    assert response.status_code == 404 and "known: support" in response.json()["error"]["message"]
    assert (
        server.post(CHAT, chat_body() | {"model": "suport"})
        .json()["error"]["message"]
        .endswith('did you mean "support"?')
    )


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
fields = st.sampled_from([*ChatBody.model_fields, *CompletionBody.model_fields, "tools", "messages", "prompt"])


@settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(fields | st.text(max_size=5), anything, max_size=8))
def test_no_body_is_our_fault(body: dict[str, Any]) -> None:
    raw = json.dumps({"model": "m", "messages": [{"role": "user", "content": "a"}]} | body).encode()
    for kind in (ChatBody, CompletionBody):
        try:
            read_body(kind, raw)
        except ApiError as error:
            assert error.status in (400, 422) and json.loads(error.json())


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=40))
def test_no_bytes_are_our_fault(raw: bytes) -> None:
    try:
        assert isinstance(read_json(raw), dict)
    except ApiError as error:
        assert error.status == 400


def test_a_refusal_is_quick(server: Running) -> None:
    started_at = time.monotonic()
    server.post(CHAT, chat_body("x" * 2_000_000))
    assert time.monotonic() - started_at < 1.0


def test_tools_are_functions_with_names_of_their_own() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "a"}]}
    tool = {"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}
    read = read_body(ChatBody, json.dumps(body | {"tools": [tool]}).encode())
    assert [each.function.name for each in read.offered_tools] == ["now"]
    assert read_body(ChatBody, json.dumps(body | {"tools": [tool], "tool_choice": "none"}).encode()).offered_tools == ()
    strict = {"type": "function", "function": {"name": "now", "strict": True}}
    for wanted, words in (
        ({"tools": [tool, tool]}, "two tools have one name"),
        ({"tools": [{"type": "retrieval", "function": {"name": "x"}}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].function is missing"),
        ({"tools": [strict]}, "strict arguments are not supported"),
        ({"tool_choice": "required"}, "the model decides"),
    ):
        error = refusal(ChatBody, body | wanted)
        assert error.status == 400 and words in str(error.body()), (wanted, error.body())
