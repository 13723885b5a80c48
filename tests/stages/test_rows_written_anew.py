"""A model on a server writes training rows anew: what it is sent, with which key, and what is kept of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from setsail.base.errors import RecipeError
from setsail.base.log import Log
from setsail.data.row import read_rows
from setsail.serve.client import ClientError
from setsail.stages.voyage import sail

from .chat_server import ChatServer

KEY = "sk-never-to-be-written"


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer(lambda prompt: "Would you " + prompt.rpartition("\n")[2]) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def recipe(tmp_path: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> Path:
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


def test_the_server_sees_masked_rows_and_its_key_stands_nowhere(recipe: Path, server: ChatServer) -> None:
    folder = prepared(recipe)
    made = [row for row in read_rows(folder / "train.parquet") if row.marks]
    assert len(made) == len(server.bodies) > 20
    assert all(row.messages[0]["content"].startswith("Would you Tell [EMAIL_1] of thing") for row in made)
    assert server.keys == {f"Bearer {KEY}"} and {body["model"] for body in server.bodies} == {"writer"}
    assert not any("example.com" in json.dumps(body) for body in server.bodies)
    for file in recipe.parent.rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes(), file


def test_a_busy_server_ends_the_work_and_the_same_command_goes_on(recipe: Path, server: ChatServer) -> None:
    server.busy_after = 7
    with pytest.raises(ClientError, match="503"):
        prepared(recipe)
    server.busy_after = 10**6
    prepared(recipe)
    prompts = [body["messages"][0]["content"] for body in server.bodies]
    assert len(prompts) == len(set(prompts)) > 20


def test_a_key_that_is_not_there_is_told_before_anything_is_sent(
    recipe: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WRITER_KEY")
    with pytest.raises(RecipeError, match="WRITER_KEY is empty"):
        prepared(recipe)
    assert server.bodies == []
