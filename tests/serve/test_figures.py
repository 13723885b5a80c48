"""What `/metrics` tells: what came, what ran, what was written; under the key, and never a text."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import replace
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families as families

from setsail.base.recipe import Serve
from setsail.engine import Finished, Token, wire

from .conftest import LEAD, Running, StartServer


def figures(server: Running) -> dict[tuple[str, ...], float]:
    answer = httpx.get(server.url + "/metrics", headers=server.headers, timeout=10)
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain")
    found = {}
    for family in families(answer.text):
        for sample in family.samples:
            found[sample.name, *(f"{key}={value}" for key, value in sorted(sample.labels.items()))] = sample.value
    return found


def test_requests_tokens_and_times_are_counted(start_server: StartServer) -> None:
    server = start_server()
    answers = [server.chat("hello", max_tokens=7), server.chat("hello", max_tokens=5), server.chat("")]
    httpx.get(server.url + "/nowhere/of/a/kind")
    server.wait_for_line(4)
    found = figures(server)
    chat = "path=/v1/chat/completions"
    assert found["setsail_requests_total", chat, "status=200"] == sum(each.status_code == 200 for each in answers)
    assert found["setsail_requests_total", "path=other", "status=404"] == 1
    used = [each.json()["usage"] for each in answers if each.status_code == 200]
    assert found["setsail_written_tokens_total", "model=support"] == sum(each["completion_tokens"] for each in used) > 7
    assert found["setsail_prompt_tokens_total", "model=support"] == sum(each["prompt_tokens"] for each in used)
    assert found["setsail_first_token_seconds_count", "model=support"] == len(used)
    assert found["setsail_request_seconds_count", chat] == 3
    assert found["setsail_model_ready", "model=support"] == 1
    assert not any("hello" in part or LEAD in part for key in found for part in key)
    assert figures(server)["setsail_requests_total", "path=/metrics", "status=200"] == 1


def test_what_the_engine_had_read_before_is_told_where_it_says(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start_server()
    assert "prompt_tokens_details" not in server.chat("hello", max_tokens=2).json()["usage"]
    assert not any(key[0] == "setsail_cached_prompt_tokens_total" for key in figures(server))
    read = wire.read_event

    def knowing(message: dict[str, Any]) -> Token | Finished:
        event = read(message)
        return replace(event, num_cached=5) if isinstance(event, Finished) else event

    monkeypatch.setattr(wire, "read_event", knowing)
    assert server.chat("hello", max_tokens=2).json()["usage"]["prompt_tokens_details"] == {"cached_tokens": 5}
    options = {"max_tokens": 2, "stream": True, "stream_options": {"include_usage": True}}
    assert '"prompt_tokens_details":{"cached_tokens":5}' in server.chat("hello", **options).text
    assert server.post("/predict", {"model": "support", "inputs": ["a", "b"]}).status_code == 200
    server.wait_for_line(5)
    assert figures(server)["setsail_cached_prompt_tokens_total", "model=support"] == 20


def test_what_runs_and_what_waits_is_told_now(start_server: StartServer) -> None:
    server = start_server(pace=50, rounds=1000, settings=Serve(slots=1, queue=2, max_tokens=2048))
    threads = [threading.Thread(target=server.chat, args=("x" * 300,), kwargs={"max_tokens": 40}) for _ in range(3)]
    for thread in threads:
        thread.start()
    gate = server.service.models["support"].gate
    while gate.num_waiting < 2:
        pass
    found = figures(server)
    assert found["setsail_requests_running", "model=support"] == 1
    assert found["setsail_requests_waiting", "model=support"] == 2
    assert server.chat().status_code == 429
    for thread in threads:
        thread.join()
    found = figures(server)
    assert found["setsail_requests_total", "path=/v1/chat/completions", "status=429"] == 1
    assert found["setsail_requests_running", "model=support"] == found["setsail_requests_waiting", "model=support"] == 0


def test_addresses_that_a_stranger_makes_up_make_no_series(start_server: StartServer) -> None:
    server = start_server(key_sha256=hashlib.sha256(b"secret").hexdigest())
    assert httpx.get(server.url + "/metrics").status_code == 401
    for number in range(50):
        httpx.get(f"{server.url}/made-up-{number}")
    server.wait_for_line(51)
    server.headers["Authorization"] = "Bearer secret"
    found = figures(server)
    assert found["setsail_requests_total", "path=other", "status=401"] == 50
    assert len({key[1] for key in found if key[0] == "setsail_requests_total"}) == 2
