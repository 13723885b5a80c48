"""`/predict` of a model that writes: for each input what a chat completion says of it."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from setsail.base.recipe import Serve

from .conftest import LEAD, Running, StartServer


def test_each_input_is_a_users_message(server: Running) -> None:
    said = [
        server.chat(text, max_tokens=2048).json()["choices"][0]["message"]["content"] for text in ("hello", "Größe")
    ]
    answer = server.post("/predict", {"inputs": ["hello", {"text": "Größe", "id": 7}]}).json()
    assert answer["predictions"] == [
        {"text": "hello", "output": said[0]},
        {"text": "Größe", "id": 7, "output": said[1]},
    ]
    assert answer["model"] == "support" and answer["usage"]["prompt_tokens"] == answer["usage"]["completion_tokens"]
    assert said[0].startswith(LEAD)


def test_the_second_model_is_asked_by_its_name_and_told_what_the_recipe_says(start_server: StartServer) -> None:
    server = start_server(two=True, system="be kind")
    (line,) = server.post("/predict", {"inputs": "hello", "model": "base"}).json()["predictions"]
    assert line["output"].endswith("dnik eb :metsys")


def test_a_model_of_plain_text_goes_on_with_it(start_server: StartServer) -> None:
    server = start_server(task="text")
    (line,) = server.post("/predict", {"inputs": "hello"}).json()["predictions"]
    assert line == {"text": "hello", "output": "olleh"}


def test_what_could_go_on_is_unfinished(start_server: StartServer) -> None:
    server = start_server(rounds=1000, settings=Serve(max_tokens=20))
    (line,) = server.post("/predict", {"inputs": "hello"}).json()["predictions"]
    assert line["unfinished"] is True and len(line["output"]) == 20


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({}, 400, "inputs alone"),
        ({"inputs": []}, 400, "at least 1 item"),
        ({"inputs": ["a"], "query": "b"}, 400, "inputs alone"),
        ({"inputs": ["a"], "probabilities": True}, 400, "inputs alone"),
        ({"inputs": ["a", {"id": 1}]}, 400, "no text"),
        ({"inputs": ["a", " "]}, 400, "text is empty"),
        ({"inputs": ["a"] * 73}, 400, "72 places"),
        ({"inputs": ["a", "b" * 5000]}, 400, "the context holds 4096"),
        ({"inputs": ["a"], "model": "nobody"}, 404, "no model"),
        ({"imputs": ["a"]}, 422, 'did you mean "inputs"?'),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_asked_is_refused(server: Running, body: dict[str, Any], status: int, words: str) -> None:
    answer = server.post("/predict", body)
    assert answer.status_code == status and words in answer.json()["error"]["message"], answer.text
    gate = server.service.model("support").gate
    assert gate.num_running == gate.num_waiting == 0


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/rerank"])
def test_it_gives_no_vectors_and_says_what_it_does(server: Running, path: str) -> None:
    error = server.post(path, {"model": "support", "input": "a"}).json()["error"]
    assert error["code"] == "unsupported_route" and "support is a language model" in error["message"]
    assert "/v1/chat/completions" in error["message"]
    with pytest.raises(openai.NotFoundError, match="is not answered here"):
        openai.OpenAI(base_url=server.url + "/v1", api_key="x").embeddings.create(model="support", input="a")
