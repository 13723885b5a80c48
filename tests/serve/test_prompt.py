"""Prompts: what was trained is what is served, and what does not fit is refused quickly, with both numbers."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from setsail.base.recipe import Serve
from setsail.engine.process import EngineProcess
from setsail.serve.errors import ApiError
from setsail.serve.models import ServedModel
from setsail.serve.prompt import chat_request, completion_request
from setsail.serve.schema import ChatBody, CompletionBody, read_body
from setsail.tokens.render import render, render_text

from .conftest import Running, make_tokenizer


@pytest.fixture
def model(tmp_path: Path) -> ServedModel:
    engine = EngineProcess("echo", tmp_path / "unused.json", 200, 1)
    return ServedModel("m", make_tokenizer(tmp_path), engine, 200, 0, "")


def chat(**options: object) -> ChatBody:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi <|end|>"}], **options}
    return read_body(ChatBody, json.dumps(body).encode())


def completion(prompt: object, **options: object) -> CompletionBody:
    return read_body(CompletionBody, json.dumps({"model": "m", "prompt": prompt, **options}).encode())


def test_the_prompt_is_the_one_of_training(model: ServedModel) -> None:
    messages = [{"role": "user", "content": "hi <|end|>"}]
    request = chat_request(model, chat(), Serve())
    trained = render(model.tokenizer, [*messages, {"role": "assistant", "content": "answer"}]).ids
    assert list(request.prompt_ids) == trained[: len(request.prompt_ids)]
    assert request.stop_ids == (256,) and 256 not in request.prompt_ids
    text = completion_request(model, completion("hi"), Serve())
    assert list(text.prompt_ids) == render_text(model.tokenizer, "hi", generation_prompt=True).ids
    assert completion_request(model, completion([1, 2, 256]), Serve()).prompt_ids == (1, 2, 256)


def test_how_many_tokens_an_answer_gets(model: ServedModel) -> None:
    num_prompt = len("user: hi <|end|>\nassistant: ")
    assert chat_request(model, chat(), Serve(max_tokens=50)).max_tokens == 50
    assert chat_request(model, chat(max_tokens=7), Serve()).max_tokens == 7
    assert chat_request(model, chat(max_completion_tokens=7), Serve()).max_tokens == 7
    assert chat_request(model, chat(max_tokens=10**9), Serve(max_tokens=10**6)).max_tokens == 200 - num_prompt
    assert chat_request(model, chat(max_tokens=100), Serve(max_tokens=50)).max_tokens == 50


def test_sampling_goes_through(model: ServedModel) -> None:
    request = chat_request(model, chat(temperature=0.5, top_p=0.9, seed=-1, logprobs=True, top_logprobs=4), Serve())
    assert (request.temperature, request.top_p, request.seed, request.num_logprobs) == (0.5, 0.9, 2**32 - 1, 4)
    assert chat_request(model, chat(), Serve()).temperature == 0.0


@pytest.mark.parametrize("num_characters", [200, 5_000, 100_000, 5_000_000])
def test_over_the_context(model: ServedModel, num_characters: int) -> None:
    body = completion("wörd " * (num_characters // 5))
    started_at = time.monotonic()
    with pytest.raises(ApiError) as caught:
        completion_request(model, body, Serve())
    assert time.monotonic() - started_at < 0.2
    assert caught.value.status == 400 and caught.value.code == "context_length_exceeded"
    assert "tokens and the context holds 200" in caught.value.message
    if num_characters < 10_000:
        assert f"has {num_characters // 5 * 6} tokens" in caught.value.message


def test_a_prompt_that_just_fits(model: ServedModel) -> None:
    assert completion_request(model, completion("x" * 199), Serve()).max_tokens == 1
    with pytest.raises(ApiError):
        completion_request(model, completion("x" * 200), Serve())


def test_over_the_context_through_the_server(server: Running) -> None:
    for path, body in [
        ("/v1/completions", {"model": "support", "prompt": "word " * 380_000}),
        ("/v1/chat/completions", {"model": "support", "messages": [{"role": "user", "content": "word " * 2000}]}),
    ]:
        response = server.post(path, body)
        assert response.status_code == 400 and response.json()["error"]["code"] == "context_length_exceeded"
    server.wait_until_idle(0.5)
