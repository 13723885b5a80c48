"""Texts in tokens and back: the ids are those of the prompts, for models that write and for those that predict."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .conftest import Predicting, Running, StartServer
from .toy_predictors import ToyPredictor

JSON = {"Content-Type": "application/json"}


def tokenize(server: Running, **body: Any) -> httpx.Response:
    return server.post("/tokenize", body)


def test_a_text_is_tokenized_as_a_prompt_is(server: Running) -> None:
    told = tokenize(server, text="hé", model="support").json()
    assert told["count"] == 3 and told["pieces"] == ["h", "<0xC3>", "<0xA9>"] and told["model"] == "support"
    body = {"model": "support", "prompt": "hé", "return_token_ids": True}
    assert server.post("/v1/completions", body).json()["prompt_token_ids"] == told["ids"]
    assert server.post("/detokenize", {"ids": told["ids"]}).json() == {"model": "support", "count": 3, "text": "hé"}


def test_messages_are_tokenized_as_the_chat_api_reads_them(server: Running) -> None:
    messages = [{"role": "system", "content": "x"}, {"role": "user", "content": "hello"}]
    told = tokenize(server, messages=messages).json()
    asked = {"model": "support", "messages": messages, "return_token_ids": True}
    assert server.post("/v1/chat/completions", asked).json()["prompt_token_ids"] == told["ids"]
    assert "".join(told["pieces"]) == "system: x\nuser: hello\nassistant: "
    tools = [{"type": "function", "function": {"name": "weather"}}]
    assert tokenize(server, messages=messages, tools=tools).json()["count"] > told["count"]


def test_special_tokens_in_a_text_are_told_apart(server: Running) -> None:
    told = tokenize(server, text="a<|end|>").json()
    # What a client writes stays text, here as in prompts.
    assert told["pieces"] == list("a<|end|>")
    special = server.service.model("support").served.tokenizer.token_id("<|end|>")
    assert server.post("/detokenize", {"ids": [special]}).json()["text"] == "<|end|>"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip))
def test_there_and_back_again(server: Running, text: str) -> None:
    told = tokenize(server, text=text).json()
    assert server.post("/detokenize", {"ids": told["ids"]}).json()["text"] == text


def test_predictors_have_tokens_too(predicting: Predicting) -> None:
    server = predicting.start(ToyPredictor())
    told = tokenize(server, text="ab").json()
    assert told["count"] == 2 and told["model"] == "desk"
    assert server.post("/detokenize", {"ids": told["ids"], "model": "desk"}).json()["text"] == "ab"
    refused = tokenize(server, messages=[{"role": "user", "content": "a"}])
    assert refused.status_code == 400 and "reads no messages" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body", "status", "told"),
    [
        ("/tokenize", {"text": "a", "messages": [{"role": "user", "content": "a"}]}, 400, "both text and messages"),
        ("/tokenize", {}, 400, "neither text nor messages"),
        ("/tokenize", {"text": None}, 400, "neither text nor messages"),
        (
            "/tokenize",
            {"text": "a", "tools": [{"type": "function", "function": {"name": "f"}}]},
            400,
            "beside messages",
        ),
        ("/tokenize", {"text": ""}, 400, "text is empty"),
        ("/tokenize", {"text": ["a"]}, 400, "must be a text"),
        ("/tokenize", {"text": "\ud800"}, 400, "surrogates"),
        ("/tokenize", {"text": "a" * 70_000}, 400, "65536"),
        ("/tokenize", {"text": "a", "model": "nope"}, 404, "there is no model"),
        ("/tokenize", {"txt": "a"}, 422, 'did you mean "text"'),
        ("/tokenize", {"messages": []}, 400, "messages"),
        ("/detokenize", {}, 400, "ids is missing"),
        ("/detokenize", {"ids": "abc"}, 400, "ids"),
        ("/detokenize", {"ids": [-1]}, 400, "ids[0]"),
        ("/detokenize", {"ids": [10**30]}, 400, "there is no token"),
        ("/detokenize", {"ids": [1.5]}, 400, "ids[0]"),
        ("/detokenize", {"ids": [True]}, 400, "ids[0]"),
        ("/detokenize", {"ids": [0] * 70_000}, 400, "65536"),
    ],
)
def test_what_is_refused(server: Running, path: str, body: Any, status: int, told: str) -> None:
    response = httpx.post(server.url + path, content=json.dumps(body), headers=JSON)
    assert response.status_code == status and told in response.json()["error"]["message"]


def test_nothing_is_held_or_charged(start_server: StartServer) -> None:
    server = start_server()
    tokenize(server, text="abc")
    line = server.wait_for_line(1)
    assert line.startswith("POST /tokenize 200 tokens=- ") and "lineage=abc123def456" in line
    assert 'setsail_requests_total{path="/tokenize",status="200"} 1.0' in httpx.get(server.url + "/metrics").text
