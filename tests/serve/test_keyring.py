"""Keys over HTTP: scopes, budgets, revoked and expired ones, a file that changes or cannot be read under a server."""

from __future__ import annotations

import hashlib
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from setsail.base.errors import SetsailError
from setsail.base.recipe import Serve
from setsail.serve.app import ANSWERING
from setsail.serve.keyring import SCOPES_OF
from setsail.serve.keys import add_key, revoke_key
from setsail.serve.limits import Limits, usage_file

from .conftest import Running, StartServer, chat_body

CHAT = "/v1/chat/completions"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def settings(file: Path) -> Serve:
    return Serve(keys=str(file))


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def chat(server: Running, secret: str) -> httpx.Response:
    return httpx.post(server.url + CHAT, json=chat_body(), headers=bearer(secret), timeout=60)


def test_each_key_is_known_by_its_name_and_the_environments_goes_on_working(
    file: Path, start_server: StartServer
) -> None:
    shop, other = add_key(file, "shop"), add_key(file, "other")
    server = start_server(settings=settings(file), key_sha256=hashlib.sha256(b"of-old").hexdigest())
    for number, (secret, name) in enumerate([(shop, "shop"), (other, "other"), ("of-old", "environment")], start=1):
        assert chat(server, secret).status_code == 200
        line = server.wait_for_line(number)
        assert line.endswith(f" lineage=abc123def456 key={name}") and secret not in line
    for wrong in ("wrong", "Bearer", shop + "x", shop[:-1]):
        refused = chat(server, wrong)
        assert refused.status_code == 401 and refused.json()["error"]["code"] == "invalid_api_key"
    assert server.wait_for_line(7).endswith(" key=-")
    assert httpx.get(server.url + "/health").status_code == 200


def test_every_address_that_answers_asks_for_a_scope() -> None:
    assert set(ANSWERING) <= set(SCOPES_OF)


def test_a_key_opens_its_scopes_only(file: Path, start_server: StartServer) -> None:
    keys = {scope: add_key(file, scope, scopes=[scope]) for scope in ("generate", "predict", "embed", "metrics")}
    server = start_server(settings=settings(file))
    for scope, secret in keys.items():
        for path, wanted in SCOPES_OF.items():
            ask = httpx.get if path == "/metrics" else httpx.post
            response = ask(server.url + path, headers=bearer(secret))
            assert (response.status_code == 403) == (scope not in wanted), (scope, path)
            if response.status_code == 403:
                assert response.json()["error"]["code"] == "wrong_scope"
                assert f"it has the scopes {scope}" in response.json()["error"]["message"]
        assert httpx.get(server.url + "/v1/models", headers=bearer(secret)).status_code == 200


def test_a_revoked_key_is_refused_without_a_restart_and_what_runs_is_finished(
    file: Path, start_server: StartServer
) -> None:
    secret = add_key(file, "shop")
    server = start_server(settings=settings(file), pace=50, rounds=10)
    with httpx.stream("POST", server.url + CHAT, json=chat_body(stream=True), headers=bearer(secret)) as running:
        lines = running.iter_lines()
        next(lines)
        revoke_key(file, "shop")
        refused = chat(server, secret)
        assert list(lines)[-2:] == ["data: [DONE]", ""]
    assert refused.status_code == 401 and refused.json()["error"]["code"] == "revoked_api_key"
    assert "shop is revoked" in refused.json()["error"]["message"]
    again = add_key(file, "shop")
    assert chat(server, again).status_code == 200


def test_an_expired_key_is_refused(file: Path, start_server: StartServer) -> None:
    secret = add_key(file, "shop", expires=datetime.now(UTC) + timedelta(hours=1))
    server = start_server(settings=settings(file))
    assert chat(server, secret).status_code == 200
    content = json.loads(file.read_text())
    content["keys"][0]["expires"] = "2020-01-01T00:00:00Z"
    file.write_text(json.dumps(content))
    assert chat(server, secret).json()["error"]["code"] == "expired_api_key"


def test_over_the_limit_of_a_minute(file: Path, start_server: StartServer) -> None:
    few, many = add_key(file, "few", requests_per_minute=2), add_key(file, "many")
    server = start_server(settings=settings(file))
    assert [chat(server, few).status_code for _ in range(3)] == [200, 200, 429]
    refused = chat(server, few)
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.json()["error"]["code"] == "requests_per_minute"
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert chat(server, many).status_code == 200


def test_tokens_of_a_day_are_counted_streamed_or_not_and_after_a_restart(file: Path, start_server: StartServer) -> None:
    secret = add_key(file, "shop", tokens_per_day=150)
    server = start_server(settings=settings(file))
    used = chat(server, secret).json()["usage"]["total_tokens"]
    server.wait_for_line(1)
    httpx.post(server.url + CHAT, json=chat_body(stream=True), headers=bearer(secret))
    httpx.post(server.url + "/predict", json={"inputs": ["a", "b"]}, headers=bearer(secret))
    server.wait_for_line(3)
    predicted = 4 * len("user: a\nassistant: ")
    refused = chat(server, secret)
    assert httpx.post(server.url + "/tokenize", json={"text": "a"}, headers=bearer(secret)).status_code == 200
    assert used == 46 and refused.status_code == 429 and refused.json()["error"]["code"] == "tokens_per_day"
    assert server.service.keys is not None
    server.service.keys.save()
    assert Limits(usage_file(file)).tokens_today("shop") == 2 * used + predicted
    again = start_server(settings=settings(file))
    assert chat(again, secret).status_code == 429


def test_tokens_of_a_client_that_leaves_are_counted(file: Path, start_server: StartServer) -> None:
    secret = add_key(file, "shop", tokens_per_day=1000)
    server = start_server(settings=settings(file), pace=50, rounds=100)
    with httpx.stream("POST", server.url + CHAT, json=chat_body(stream=True), headers=bearer(secret)) as running:
        lines = running.iter_lines()
        for _ in range(9):
            next(lines)
    server.wait_for_line(1)
    assert server.service.keys is not None
    server.service.keys.save()
    assert 23 + 3 <= Limits(usage_file(file)).tokens_today("shop") < 23 + 40


def test_while_the_file_cannot_be_read_nobody_comes_in_by_it(file: Path, start_server: StartServer) -> None:
    secret = add_key(file, "shop")
    server = start_server(settings=settings(file), key_sha256=hashlib.sha256(b"of-old").hexdigest())
    whole = file.read_text()
    for damage in (lambda: file.write_text(whole[:40]), lambda: file.chmod(0o666), file.unlink):
        damage()
        refused = [chat(server, secret), chat(server, "wrong")]
        assert [each.status_code for each in refused] == [503] * 2
        assert refused[0].json()["error"]["code"] == "keys_unreadable"
        assert chat(server, "of-old").status_code == 200
        file.write_text(whole)
        file.chmod(0o600)
        assert chat(server, secret).status_code == 200
    told = [line for line in server.lines if line.startswith("no key is accepted")]
    assert len(told) == 3 and "damaged" in told[0] and "chmod 600" in told[1] and "no key file" in told[2]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_in_which_usage_cannot_be_kept_is_refused_at_once(file: Path, start_server: StartServer) -> None:
    add_key(file, "shop", tokens_per_day=1)
    file.parent.chmod(0o500)
    with pytest.raises(SetsailError, match="permission"):
        start_server(settings=settings(file))


def test_a_server_does_not_start_with_a_file_it_cannot_use(file: Path, start_server: StartServer) -> None:
    with pytest.raises(SetsailError, match="no key file"):
        start_server(settings=settings(file))
    add_key(file, "shop")
    usage_file(file).write_text("{")
    with pytest.raises(SetsailError, match="damaged"):
        start_server(settings=settings(file))
