"""The guards: key, Host, Origin, log."""

from __future__ import annotations

import hashlib
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.routing import Route

from setsail.base.recipe import Serve
from setsail.serve.app import OPEN
from setsail.serve.guard import is_loopback, printable

from .conftest import Running, StartServer, chat_body

KEY = "planted-key-4711"
CHAT = "/v1/chat/completions"


@pytest.fixture
def locked(start_server: StartServer) -> Running:
    return start_server(key_sha256=hashlib.sha256(KEY.encode()).hexdigest())


def closed_routes(app: Any) -> list[tuple[str, str]]:
    """Every method and address of the app that is not open to all; from its own table, so a new route is in it."""
    addresses: list[tuple[str, str]] = []
    for route in app.routes:
        assert isinstance(route, Route) and route.methods
        if route.path in OPEN or route.path == "/" or route.path.startswith("/page/"):
            continue
        addresses += [(method, route.path.replace("{name:path}", "support")) for method in sorted(route.methods)]
    return addresses


@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Bearer", f"Basic {KEY}", KEY, f"Bearer {KEY}x"])
def test_every_route_needs_the_key(locked: Running, authorization: str | None) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    closed = closed_routes(locked.app)
    assert ("POST", CHAT) in closed and ("GET", "/ready") in closed and len(closed) >= 6
    for method, path in [*closed, ("GET", "/nope"), ("OPTIONS", CHAT), ("GET", "/page"), ("GET", "/health/")]:
        response = httpx.request(method, locked.url + path, headers=headers)
        assert response.status_code == 401, (method, path)
        assert response.headers["www-authenticate"] == "Bearer"


def test_the_right_key_opens(locked: Running) -> None:
    locked.headers["Authorization"] = f"Bearer {KEY}"
    assert locked.chat().status_code == 200
    assert httpx.get(locked.url + "/v1/models", headers=locked.headers).status_code == 200


def test_the_page_and_the_sign_of_life_are_open(locked: Running) -> None:
    for path in ("/health", "/", "/page/page.css", "/page/page.js"):
        assert httpx.get(locked.url + path).status_code == 200


def test_without_the_key_the_body_is_not_read(locked: Running) -> None:
    """The refusal comes while the body is still being held back."""
    address = urlsplit(locked.url)
    with socket.create_connection((address.hostname, address.port), timeout=5) as client:
        head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        client.sendall(head.encode() + b"Content-Length: 1000000\r\nExpect: 100-continue\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 401 ")


def test_a_foreign_origin_gets_no_leave_to_read(server: Running) -> None:
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    answers = [
        httpx.post(server.url + CHAT, json=chat_body(), headers=headers),
        httpx.options(server.url + CHAT, headers=headers),
        httpx.get(server.url + "/v1/models", headers=headers),
    ]
    for answer in answers:
        assert not [name for name in answer.headers if name.startswith("access-control")]
    assert answers[1].status_code == 405


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "[::2]:8000", "0.0.0.0"])
def test_a_rebound_name_is_refused(server: Running, host: str) -> None:
    response = httpx.get(server.url + "/v1/models", headers={"Host": host})
    assert response.status_code == 403 and response.json()["error"]["code"] == "wrong_host"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:1", "LOCALHOST", "[::1]", "[::1]:8000"])
def test_names_of_this_machine_are_answered(server: Running, host: str) -> None:
    assert httpx.get(server.url + "/v1/models", headers={"Host": host}).status_code == 200


def test_on_an_open_address_any_name_is_answered(start_server: StartServer) -> None:
    server = start_server(settings=Serve(host="0.0.0.0"), key_sha256="0" * 64)
    assert httpx.get(server.url + "/health", headers={"Host": "gpu-7.lan"}).status_code == 200


def test_what_is_loopback() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "127.8.0.1", "::1", "[::1]", "localhost"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "192.168.0.1", "", "localhost.evil.example"]))


def test_the_log_has_a_line_per_request_and_no_secrets(locked: Running, capfd: pytest.CaptureFixture[str]) -> None:
    locked.headers["Authorization"] = f"Bearer {KEY}"
    locked.chat("planted-prompt")
    locked.chat("planted-prompt", stream=True, user="planted-user")
    locked.chat("planted-prompt", stop=["resu"], temperature="planted-value")
    httpx.get(locked.url + "/v1/models?key=planted-query", headers={"Authorization": "Bearer planted-wrong"})
    locked.wait_for_line(4)
    assert len(locked.lines) == 4
    assert locked.lines[0].startswith(f"POST {CHAT} 200 tokens=32+32 seconds=0.")
    assert locked.lines[0].endswith(" lineage=abc123def456 key=environment")
    written = "\n".join([*locked.lines, *capfd.readouterr()])
    assert "planted" not in written


def test_nobody_writes_lines_into_the_log(server: Running) -> None:
    time.sleep(0.1)
    num_lines = len(server.lines)
    httpx.get(server.url + "/a%0aGET%20/fake%20200%0d%1b%5b31m%e2%80%ae%c2%85" + "x" * 5000)
    line = server.wait_for_line(num_lines + 1)
    assert len(server.lines) == num_lines + 1
    assert line.isprintable() and len(line) < 400 and r"/a\nGET /fake 200\r\x1b[31m" in line
    assert printable("a\ud800b") == r"a\ud800b"


def test_the_page_may_load_nothing_from_elsewhere(server: Running) -> None:
    response = httpx.get(server.url + "/")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert "http" not in policy and "unsafe" not in policy and "*" not in policy
    assert response.headers["x-content-type-options"] == "nosniff"
    again = httpx.get(server.url + "/", headers={"If-None-Match": response.headers["etag"]})
    assert again.status_code == 304 and again.content == b""
