"""A model on a server writes training rows anew: what it is sent, with which key, and what is kept of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from setsail.base.errors import RecipeError
from setsail.base.log import Log
from setsail.data.row import read_rows
from setsail.serve.client import ClientError
from setsail.stages.voyage import sail

KEY = "sk-never-to-be-written"


class Server(ThreadingHTTPServer):
    """Speaks as much of OpenAI's chat API as is needed, and is busy from the `busy_after`th question on."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.busy_after = 10**6
        super().__init__(("127.0.0.1", 0), Answers)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Answers(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions" or len(self.server.bodies) >= self.server.busy_after:
            self.send_error(503)
            return
        self.server.bodies.append(body)
        self.server.keys.add(self.headers["Authorization"])
        text = "Would you " + body["messages"][0]["content"].rpartition("\n")[2]
        choice = {"message": {"content": text}, "finish_reason": "stop"}
        answer = {"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
        sent = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def recipe(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Path:
    rows = [{"prompt": f"Tell ann{n}@example.com of thing {n}", "completion": f"Thing {n * n}"} for n in range(40)]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    augment = f"{{paraphrase: 1.0, server: {{url: '{server.url}', model: writer, key_env: WRITER_KEY}}}}"
    path = tmp_path / "r.yaml"
    path.write_text(f"name: r\ndata: {{source: t.jsonl, augment: {augment}}}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WRITER_KEY", KEY)
    return path


def prepared(recipe: Path) -> Path:
    return Path(sail(recipe, (), Path("runs"), until="prepare", log=Log(quiet=True))["stages"]["prepare"])


def test_the_server_sees_masked_rows_and_its_key_stands_nowhere(recipe: Path, server: Server) -> None:
    folder = prepared(recipe)
    made = [row for row in read_rows(folder / "train.parquet") if row.marks]
    assert len(made) == len(server.bodies) > 20
    assert all(row.messages[0]["content"].startswith("Would you Tell [EMAIL_1] of thing") for row in made)
    assert server.keys == {f"Bearer {KEY}"} and {body["model"] for body in server.bodies} == {"writer"}
    assert not any("example.com" in json.dumps(body) for body in server.bodies)
    for file in recipe.parent.rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes(), file


def test_a_busy_server_ends_the_work_and_the_same_command_goes_on(recipe: Path, server: Server) -> None:
    server.busy_after = 7
    with pytest.raises(ClientError, match="503"):
        prepared(recipe)
    server.busy_after = 10**6
    prepared(recipe)
    prompts = [body["messages"][0]["content"] for body in server.bodies]
    assert len(prompts) == len(set(prompts)) > 20


def test_a_key_that_is_not_there_is_told_before_anything_is_sent(
    recipe: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WRITER_KEY")
    with pytest.raises(RecipeError, match="WRITER_KEY is empty"):
        prepared(recipe)
    assert server.bodies == []
