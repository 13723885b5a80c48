"""Engines that die, start late or do not start; readiness."""

from __future__ import annotations

import os
import signal
import threading
import time

import httpx
import pytest

from setsail.base.recipe import Serve

from .conftest import Running, StartServer


def kill_engine_soon(server: Running) -> None:
    def kill() -> None:
        time.sleep(0.5)
        assert server.engine.pid is not None
        os.kill(server.engine.pid, signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()


@pytest.mark.parametrize("stream", [True, False])
def test_an_engine_killed_in_flight_is_told_within_two_seconds(start_server: StartServer, stream: bool) -> None:
    server = start_server(pace=20, rounds=1000)
    assert httpx.get(server.url + "/ready").status_code == 200
    kill_engine_soon(server)
    started_at = time.monotonic()
    response = server.chat(stream=stream)
    assert time.monotonic() - started_at < 2.5
    if stream:
        assert response.status_code == 200
        assert "engine_failed" in response.text and "[DONE]" not in response.text
    else:
        assert response.status_code == 502 and response.json()["error"]["code"] == "engine_failed"
    assert httpx.get(server.url + "/ready").status_code == 503
    during = server.chat()
    assert during.status_code == 503 and during.headers["retry-after"] == "2"
    assert httpx.get(server.url + "/health").status_code == 200
    deadline = time.monotonic() + 10
    while httpx.get(server.url + "/ready").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert server.chat(max_tokens=2).status_code == 200
    server.wait_until_idle(1.0)


@pytest.mark.slow
def test_an_engine_that_is_stuck_is_not_ready(start_server: StartServer) -> None:
    server = start_server()
    assert server.engine.pid is not None
    os.kill(server.engine.pid, signal.SIGSTOP)
    try:
        time.sleep(2.1)
        started_at = time.monotonic()
        assert httpx.get(server.url + "/ready", timeout=10).status_code == 503
        assert time.monotonic() - started_at < 5.5
        assert httpx.get(server.url + "/health").status_code == 200
    finally:
        os.kill(server.engine.pid, signal.SIGCONT)
    assert httpx.get(server.url + "/ready", timeout=10).status_code == 200


def test_ready_while_every_slot_is_busy(start_server: StartServer) -> None:
    server = start_server(pace=10, rounds=100, settings=Serve(slots=1, queue=0))
    with httpx.stream("POST", server.url + "/v1/chat/completions", json=body_that_lasts()) as response:
        next(response.iter_lines())
        assert httpx.get(server.url + "/ready").status_code == 200


def body_that_lasts() -> dict[str, object]:
    return {"model": "support", "messages": [{"role": "user", "content": "hello"}], "stream": True}


def test_the_second_model_starts_on_first_use(start_server: StartServer) -> None:
    server = start_server(two=True)
    listed = httpx.get(server.url + "/v1/models").json()["data"]
    assert [(model["id"], model["state"], model["ready"]) for model in listed] == [
        ("support", "ready", True),
        ("base", "asleep", False),
    ]
    assert httpx.get(server.url + "/ready").status_code == 200
    answer = server.chat(model="base")
    assert answer.status_code == 200 and answer.json()["model"] == "base"
    assert " lineage=fed321 " in server.wait_for_line(3)
    listed = httpx.get(server.url + "/v1/models").json()["data"]
    assert [model["ready"] for model in listed] == [True, True]


def test_a_model_that_cannot_start_says_why_and_the_other_goes_on(start_server: StartServer) -> None:
    server = start_server(two=True)
    server.service.model("base").served.engine.model.write_text("damaged")
    # The first user hears the reason, and so does everyone after.
    for _ in range(2):
        answer = server.chat(model="base")
        assert answer.status_code == 503 and "not an echo model" in answer.json()["error"]["message"]
    assert server.chat().status_code == 200
    server.wait_until_idle(1.0)
