"""The engine that starts vLLM, with something else on PATH under that name."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from serve.conftest import make_tokenizer

from setsail.base.errors import ModelError, UserError
from setsail.base.recipe_data import Server
from setsail.engine import EngineProcess, Finished, GenerationRequest, Token, Watch
from setsail.engine.contract import Special
from setsail.engine.vllm import vllm_command

from .conftest import CONTEXT

SERVER = Server(url="http://127.0.0.1", model="desk")


def put_on_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `vllm` on PATH; returns the folder in which it tells how it was called."""
    (folder / "bin").mkdir()
    program = folder / "bin" / "vllm"
    fake = Path(__file__).parent / "fake_vllm.py"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(fake))} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_VLLM", str(folder / "bin"))
    return folder / "bin"


def called(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "called.json").read_text())


@pytest.fixture
def model(tmp_path: Path) -> Path:
    make_tokenizer(tmp_path / "merged")
    (tmp_path / "merged" / "config.json").write_text(json.dumps({"max_position_embeddings": 128}))
    return tmp_path / "merged"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return put_on_path(tmp_path, monkeypatch)


Open = Callable[..., EngineProcess]


@pytest.fixture
def start(model: Path) -> Iterator[Open]:
    with contextlib.ExitStack() as stack:

        def opened(said: list[str] | None = None) -> EngineProcess:
            say = (said if said is not None else []).append
            watch = Watch(backoff_seconds=0.05)
            engine = EngineProcess("vllm", model, CONTEXT, 4, special=Special(server=SERVER), watch=watch, say=say)
            stack.callback(engine.close)
            return engine.start()

        yield opened


def wait_until(condition: Callable[[], object], seconds: float = 30.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_it_is_started_as_it_wants_it_and_asked_behind_a_key(fake: Path, start: Open, model: Path) -> None:
    engine = start()
    assert (engine.name, engine.context) == ("vllm", 128)
    assert list(engine.generate(GenerationRequest((1, 2), 8))) == [Token(2), Token(1), Finished("stop")]
    said = called(fake)
    port = said["argv"][said["argv"].index("--port") + 1]
    assert said["argv"] == vllm_command(model, "desk", context=CONTEXT, port=int(port))[1:]
    assert said["argv"][-2:] == ["--generation-config", "vllm"]
    assert len(said["key"]) > 30 and "VLLM_NO_USAGE_STATS" in said["environment"]
    for process in psutil.process_iter(["cmdline"]):
        assert said["key"] not in " ".join(process.info["cmdline"] or ())


def test_our_own_key_is_not_handed_on(fake: Path, start: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SETSAIL_API_KEY", "sk-ours")
    start()
    assert "SETSAIL_API_KEY" not in called(fake)["environment"]


def test_closing_ends_it_and_all_that_it_started(fake: Path, start: Open) -> None:
    engine = start()
    pids = called(fake)["pids"]
    engine.close()
    assert wait_until(lambda: all(map(gone, pids)))


def test_a_killed_worker_leaves_nothing_behind(fake: Path, start: Open) -> None:
    engine = start()
    pids = called(fake)["pids"]
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGKILL)
    assert wait_until(lambda: all(map(gone, pids)))


def test_when_it_dies_its_last_words_are_told_and_it_is_started_again(fake: Path, start: Open) -> None:
    said: list[str] = []
    engine = start(said)
    first = called(fake)["pids"]
    os.kill(first[0], signal.SIGKILL)
    assert wait_until(lambda: engine.state == "restarting" or said)
    assert wait_until(lambda: engine.state == "ready" and called(fake)["pids"] != first)
    assert "vLLM ended with status 137" in said[0] and "INFO loading weights" in said[0]
    assert list(engine.generate(GenerationRequest((1, 2), 1))) == [Token(2), Finished("length")]
    assert wait_until(lambda: gone(first[1]))


def test_what_it_said_before_it_was_ready_is_told(fake: Path, start: Open) -> None:
    (fake / "how").write_text("too little memory")
    with pytest.raises(ModelError, match="vLLM ended with status 1 before it was ready") as told:
        start()
    assert told.value.hint is not None and "CUDA out of memory" in told.value.hint


def test_without_vllm_it_is_told_how_to_install_it(start: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="there is no command vllm on PATH") as told:
        start()
    assert told.value.hint is not None and "python3 -m venv ~/vllm" in told.value.hint and "--engine" in told.value.hint


def test_a_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json cannot be read"):
        vllm_command(tmp_path, "desk", context=8, port=1)
