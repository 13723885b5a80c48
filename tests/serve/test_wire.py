"""Bytes on the socket: caps on the body, clients that leave, clients that dawdle, time limits."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from setsail.base.recipe import Serve
from setsail.serve import wire

from .conftest import Running, StartServer, chat_body

CHAT = "/v1/chat/completions"


def connect(server: Running) -> socket.socket:
    address = urlsplit(server.url)
    return socket.create_connection((address.hostname, address.port), timeout=30)


def ask(server: Running, body: dict[str, object]) -> socket.socket:
    """A request on a bare socket, sent whole."""
    raw = json.dumps(body).encode()
    client = connect(server)
    head = (
        f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(raw)}\r\n"
    )
    client.sendall(head.encode() + b"\r\n" + raw)
    return client


def hang_up(client: socket.socket, *, reset: bool) -> None:
    if reset:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    client.close()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_sixty_megabytes_is_refused_and_not_kept(server: Running, chunked: bool) -> None:
    part = b'{"model": "' + b"x" * 2**20

    def parts() -> Iterator[bytes]:
        for _ in range(60):
            yield part

    process = psutil.Process(os.getpid())
    before = process.memory_info().rss
    headers = {"Content-Type": "application/json"}
    if not chunked:
        headers["Content-Length"] = str(60 * len(part))
    started_at = time.monotonic()
    response = httpx.post(server.url + CHAT, content=parts(), headers=headers, timeout=30)
    assert response.status_code == 413 and response.json()["error"]["code"] == "body_too_large"
    assert time.monotonic() - started_at < 5.0
    assert process.memory_info().rss - before < 50 * 2**20
    assert server.chat(max_tokens=1).status_code == 200


def test_a_prompt_of_five_megabytes_is_refused_at_once(server: Running) -> None:
    started_at = time.monotonic()
    assert server.chat("word " * 1_000_000).status_code == 413
    assert time.monotonic() - started_at < 2.0


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_only_json_is_read(server: Running, kind: str) -> None:
    """The types that a browser sends to other origins without asking are refused."""
    response = httpx.post(server.url + CHAT, content=json.dumps(chat_body()), headers={"Content-Type": kind})
    assert response.status_code == 415 and "Content-Type: application/json" in response.text


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("reset", [True, False])
def test_a_client_that_leaves_frees_its_slot(start_server: StartServer, stream: bool, reset: bool) -> None:
    server = start_server(pace=20, rounds=1000, settings=Serve(slots=1, queue=0))
    client = ask(server, chat_body(stream=stream))
    time.sleep(0.3)
    assert server.service.model("support").gate.num_running == 1
    hang_up(client, reset=reset)
    assert server.wait_until_idle(5.0) < 0.5
    # A stream has its status already; nobody heard the other's.
    assert server.wait_for_line(1).startswith(f"POST {CHAT} {200 if stream else 499} ")
    assert server.chat(max_tokens=1).status_code == 200


def test_fifty_leave_in_the_middle(start_server: StartServer) -> None:
    server = start_server(pace=50, rounds=1000, settings=Serve(slots=2, queue=8))
    for turn in range(50):
        client = ask(server, chat_body(stream=turn % 2 == 0))
        time.sleep(0.03)
        hang_up(client, reset=turn % 3 == 0)
        if turn % 8 == 7:
            server.wait_until_idle(2.0)
    server.wait_until_idle(1.0)
    assert server.service.num_active == 0
    assert server.chat(max_tokens=2).status_code == 200


def test_who_leaves_the_queue_is_never_computed(start_server: StartServer) -> None:
    server = start_server(pace=20, rounds=1000, settings=Serve(slots=1, queue=4))
    running = ask(server, chat_body())
    time.sleep(0.1)
    waiting = [ask(server, chat_body()) for _ in range(4)]
    time.sleep(0.2)
    gate = server.service.model("support").gate
    assert (gate.num_running, gate.num_waiting) == (1, 4)
    for client in waiting:
        hang_up(client, reset=False)
    time.sleep(0.3)
    assert (gate.num_running, gate.num_waiting) == (1, 0)
    hang_up(running, reset=False)
    server.wait_until_idle(1.0)


def test_a_slow_reader_does_not_hold_a_slot(start_server: StartServer) -> None:
    server = start_server(rounds=4000, context=100_000, settings=Serve(slots=1, queue=0, max_tokens=90_000))
    with ask(server, chat_body(stream=True, logprobs=True, top_logprobs=1)):
        while not server.service.model("support").gate.num_running:
            time.sleep(0.005)
        server.wait_until_idle(30.0)
        assert server.service.num_active == 1, "the answer was read although nobody read it"
        assert server.chat(max_tokens=1).status_code == 200


def test_past_the_deadline(start_server: StartServer) -> None:
    server = start_server(pace=20, rounds=1000, settings=Serve(slots=1, queue=4, deadline_seconds=0.5))
    whole = server.chat()
    assert whole.status_code == 504 and whole.json()["error"]["code"] == "deadline_exceeded"
    stream = server.chat(stream=True)
    assert stream.status_code == 200 and "deadline_exceeded" in stream.text and "[DONE]" not in stream.text
    server.wait_until_idle(0.5)


def test_a_body_that_never_comes(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "BODY_SECONDS", 0.3)
    with connect(server) as client:
        client.sendall(
            f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            "Content-Length: 100\r\n\r\n{".encode()
        )
        assert client.recv(1000).startswith(b"HTTP/1.1 408 ")
