"""The audit: whose key, which model of which lineage, how many tokens; and nothing of a text."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from setsail.base.errors import SystemRefusal
from setsail.base.recipe import Serve
from setsail.serve.audit import Audit
from setsail.serve.keys import add_key

from .conftest import StartServer, chat_body


def test_each_request_leaves_a_line(tmp_path: Path, start_server: StartServer) -> None:
    keys, file = tmp_path / "keys.json", tmp_path / "audit.jsonl"
    secret = add_key(keys, "shop", scopes=["generate"])
    server = start_server(settings=Serve(keys=str(keys), audit=str(file)))
    server.headers = {"Authorization": f"Bearer {secret}"}
    server.post("/v1/chat/completions", chat_body("planted-prompt"))
    server.post("/v1/chat/completions", chat_body("planted-prompt", stream=True, max_tokens=3))
    server.post("/predict", {"inputs": ["planted-prompt"]})
    server.wait_for_line(3)
    file.rename(tmp_path / "moved.jsonl")
    httpx.get(server.url + "/planted%0a?key=planted-query", headers={"Authorization": "Bearer planted-wrong"})
    server.wait_for_line(4)
    lines = [json.loads(line) for line in (tmp_path / "moved.jsonl").read_text().splitlines()]
    whole, streamed, refused = lines
    assert whole["status"] == 200 and whole["prompt_tokens"] == whole["written_tokens"] == 32
    names = {"key": "shop", "model": "support", "lineage": "abc123def456", "path": "/v1/chat/completions"}
    assert names.items() <= whole.items() and names.items() <= streamed.items()
    assert streamed["written_tokens"] == 3
    assert (refused["status"], refused["key"], refused["model"]) == (403, "shop", None)
    assert abs((datetime.now(UTC) - datetime.fromisoformat(whole["time"])).total_seconds()) < 3600
    [stranger] = [json.loads(line) for line in file.read_text().splitlines()]
    assert (stranger["status"], stranger["key"]) == (401, None)
    written = (tmp_path / "moved.jsonl").read_text() + json.dumps({**stranger, "path": ""})
    assert "planted" not in written and secret not in written
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_file_that_cannot_be_written_is_said_at_once_and_a_lost_line_is_logged(
    tmp_path: Path, start_server: StartServer
) -> None:
    with pytest.raises(SystemRefusal, match="the audit cannot be written"):
        Audit(tmp_path / "no" / "audit.jsonl")
    folder = tmp_path / "gone"
    folder.mkdir()
    server = start_server(settings=Serve(audit=str(folder / "audit.jsonl")))
    (folder / "audit.jsonl").unlink()
    folder.rmdir()
    assert server.chat().status_code == 200
    server.wait_for_line(2)
    assert server.lines[0] == "a line of the audit is lost: No such file or directory"
