"""The API as its clients use it: the official one, curl, and plain httpx."""

from __future__ import annotations

import json
import subprocess

import httpx
import openai
import pytest

from .conftest import LEAD, Running, StartServer, chat_body


@pytest.fixture
def official(server: Running) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)


def test_the_official_client_gets_a_whole_answer(official: openai.OpenAI) -> None:
    answer = official.chat.completions.create(
        model="support", messages=[{"role": "system", "content": "x"}, {"role": "user", "content": "hello"}]
    )
    assert answer.choices[0].message.content == LEAD[:-1] + "\nolleh :resu\nx :metsys"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None and answer.usage.prompt_tokens == answer.usage.completion_tokens == 33
    assert answer.system_fingerprint == "abc123def456"


def test_the_official_client_streams(official: openai.OpenAI) -> None:
    stream = official.chat.completions.create(
        model="support",
        messages=[{"role": "user", "content": "hello"}],
        stream=True,
        max_tokens=17,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == LEAD + "olleh"
    assert [c.choices[0].finish_reason for c in chunks[:-1]] == [None] * (len(chunks) - 2) + ["length"]
    assert chunks[-1].choices == [] and chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 17


def test_the_official_client_completes_text_and_ids(official: openai.OpenAI, server: Running) -> None:
    assert official.completions.create(model="support", prompt="hello").choices[0].text == "olleh"
    ids = next(iter(server.service.models.values())).served.tokenizer.encode("hello")
    whole = official.completions.create(model="support", prompt=ids, logprobs=2)
    assert whole.choices[0].text == "olleh"
    assert whole.choices[0].logprobs is not None and whole.choices[0].logprobs.tokens == list("olleh")
    parts = list(official.completions.create(model="support", prompt="hello", stream=True))
    assert "".join(part.choices[0].text for part in parts) == "olleh"
    assert parts[-1].choices[0].finish_reason == "stop"


def test_the_official_client_lists_models(official: openai.OpenAI) -> None:
    assert [model.id for model in official.models.list()] == ["support"]
    assert official.models.retrieve("support").id == "support"


def test_logprobs_and_ids_are_told(server: Running) -> None:
    answer = server.chat("ab", logprobs=True, top_logprobs=3, return_token_ids=True, max_tokens=2).json()
    entries = answer["choices"][0]["logprobs"]["content"]
    assert [entry["token"] for entry in entries] == list(LEAD[:2])
    assert entries[0] == {
        "token": " ",
        "logprob": 0.0,
        "bytes": [32],
        "top_logprobs": [{"token": " ", "logprob": 0.0, "bytes": [32]}],
    }
    tokenizer = server.service.model("support").served.tokenizer
    assert tokenizer.decode(answer["prompt_token_ids"]) == "user: ab\nassistant: "
    assert answer["choices"][0]["token_ids"] == answer["prompt_token_ids"][::-1][:2]


def test_every_streamed_token_has_its_logprobs(server: Running) -> None:
    """Also those whose text is held back or left out: half characters, the start of a stop string."""
    text = server.chat("ho€", logprobs=True, stream=True, stop=["resuX"]).text
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    entries = [e for event in events for e in (event["choices"][0]["logprobs"] or {"content": []})["content"]]
    assert len(entries) == len("user: ho€\nassistant: ".encode())


@pytest.mark.parametrize("stop", [[], ["resuX"]])
def test_a_stream_tells_the_ids_of_every_token_where_they_are_asked_for(server: Running, stop: list[str]) -> None:
    for text in (
        server.chat("ho€", stream=True, return_token_ids=True, stop=stop).text,
        server.post(
            "/v1/completions",
            {"model": "support", "prompt": "ho€", "stream": True, "return_token_ids": True, "stop": stop},
        ).text,
    ):
        choices = [json.loads(line[6:])["choices"][0] for line in text.splitlines() if line.startswith("data: {")]
        ids = [token_id for choice in choices for token_id in choice["token_ids"]]
        prompt = "user: ho€\nassistant: " if "chat" in text else "ho€"
        assert ids == server.service.model("support").served.tokenizer.encode(prompt)[::-1]


def test_a_stop_string_ends_the_answer_and_is_not_part_of_it(server: Running) -> None:
    for stream in (False, True):
        response = server.chat("hello", stop=["lleh"], stream=stream)
        assert "lleh" not in response.text
        assert '"finish_reason":"stop"' in response.text.replace(": ", ":")
    assert server.chat("hello", stop="ol").json()["choices"][0]["message"]["content"] == LEAD


def test_text_parts_are_joined(server: Running) -> None:
    parts = [{"type": "text", "text": "he"}, {"type": "text", "text": "llo"}]
    body = {"model": "support", "messages": [{"role": "user", "content": parts}], "max_tokens": 17}
    answer = server.post("/v1/chat/completions", body).json()
    assert answer["choices"][0]["message"]["content"] == LEAD + "olleh"


def test_a_huge_max_tokens_is_cut_to_what_fits(start_server: StartServer) -> None:
    server = start_server(rounds=1000, context=200)
    answer = server.chat("hello", max_tokens=10**9).json()
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["total_tokens"] == 200


def test_what_an_answer_carries_can_be_sent_back(official: openai.OpenAI) -> None:
    """The history as the official client holds it, nulls and all."""
    first = official.chat.completions.create(model="support", messages=[{"role": "user", "content": "a"}])
    message = first.choices[0].message.model_dump()
    again = official.chat.completions.create(model="support", messages=[message, {"role": "user", "content": "b"}])
    assert again.choices[0].finish_reason == "stop"


def test_curl(server: Running) -> None:
    command = ["curl", "-sS", "-N", server.url + "/v1/chat/completions", "-H", "Content-Type: application/json", "-d"]
    whole = subprocess.run([*command, json.dumps(chat_body())], capture_output=True, check=True, text=True).stdout
    assert json.loads(whole)["choices"][0]["message"]["content"].startswith(LEAD)
    stream = subprocess.run([*command, json.dumps(chat_body(stream=True))], capture_output=True, check=True, text=True)
    assert stream.stdout.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize(("path", "status"), [("/health", 200), ("/ready", 200), ("/v1/models/nope", 404)])
def test_small_routes(server: Running, path: str, status: int) -> None:
    assert httpx.get(server.url + path).status_code == status


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "/etc/passwd", "%00", "a" * 10_000, "support/"]
)
def test_a_model_name_is_never_a_path(server: Running, name: str) -> None:
    response = httpx.get(server.url + "/v1/models/" + name)
    assert response.status_code in (400, 404)
    assert "root:" not in response.text and len(response.text) < 500
    asked = server.post("/v1/chat/completions", chat_body() | {"model": name})
    assert (asked.status_code == 404 and "known: support" in asked.text) or "did you mean" in asked.text


def test_errors_of_the_router_have_the_same_shape(server: Running) -> None:
    for response, status in [
        (httpx.get(server.url + "/nope"), 404),
        (httpx.get(server.url + "/page/../../app.py"), 404),
        (httpx.get(server.url + "/v1/chat/completions"), 405),
    ]:
        assert response.status_code == status and set(response.json()["error"]) == {"message", "type", "param", "code"}
