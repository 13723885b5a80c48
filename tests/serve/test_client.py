"""Our own client, against our own server."""

from __future__ import annotations

import hashlib
import threading
import time

import pytest

from setsail.base.recipe import Serve
from setsail.serve.client import Client, ClientError
from setsail.serve.run import take_port

from .conftest import LEAD, Running, StartServer

HELLO = [{"role": "user", "content": "hello"}]


def test_chat(server: Running) -> None:
    with Client(server.url) as client:
        client.wait_until_ready(5)
        assert [model["id"] for model in client.models()] == ["support"]
        result = client.chat(HELLO, model="support", max_tokens=3, logprobs=True, top_logprobs=2, return_token_ids=True)
    assert (result.text, result.finish_reason, result.num_prompt_tokens, result.num_tokens) == (
        LEAD[:3],
        "length",
        23,
        3,
    )
    assert [entry.token for entry in result.logprobs] == list(LEAD[:3])
    assert result.logprobs[0].top == ((" ", 0.0),)
    assert len(result.prompt_ids) == 23 and len(result.token_ids) == 3


def test_stream_and_stop(start_server: StartServer) -> None:
    server = start_server(pace=50, rounds=1000)
    with Client(server.url) as client:
        assert "".join(client.stream(HELLO, model="support", max_tokens=17)) == LEAD + "olleh"
        parts = client.stream(HELLO, model="support")
        assert next(parts) == " "
        parts.close()
        assert server.wait_until_idle(2.0) < 0.5


def test_refusals_come_with_the_servers_words(server: Running) -> None:
    with Client(server.url) as client:
        with pytest.raises(ClientError, match="there is no model") as caught:
            client.chat(HELLO, model="nope")
        assert (caught.value.status, caught.value.code, caught.value.exit_code) == (404, "model_not_found", 2)
        with pytest.raises(ClientError, match="max_tokens"):
            list(client.stream(HELLO, model="support", max_tokens=0))


def test_an_answer_that_breaks_off_is_not_taken_for_whole(start_server: StartServer) -> None:
    server = start_server(pace=20, rounds=1000)
    with Client(server.url) as client:
        threading.Thread(target=lambda: (time.sleep(0.5), server.engine.restart()), daemon=True).start()
        with pytest.raises(ClientError, match="the engine failed") as caught:
            list(client.stream(HELLO, model="support"))
        assert caught.value.code == "engine_failed"


def test_the_key(start_server: StartServer) -> None:
    server = start_server(key_sha256=hashlib.sha256(b"secret").hexdigest(), settings=Serve())
    with Client(server.url, api_key="secret") as client:
        assert client.chat(HELLO, model="support", max_tokens=1).text == " "
    with Client(server.url) as client, pytest.raises(ClientError) as caught:
        client.wait_until_ready(5)
    assert caught.value.status == 401


def test_nobody_there() -> None:
    with take_port("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}") as client, pytest.raises(ClientError, match="no connection") as caught:
        client.wait_until_ready(0.3)
    assert caught.value.status is None
