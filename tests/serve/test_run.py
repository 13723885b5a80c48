"""The server as a process: the port, the open door, leaving with and without patience."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from setsail.base.errors import SystemRefusal, UserError
from setsail.base.recipe import Serve
from setsail.serve.run import refuse_open_door, serve, take_port

from .conftest import chat_body, make_tokenizer

SCRIPT = """
import json, sys
from pathlib import Path
from setsail.base.recipe import Serve
from setsail.engine.process import EngineProcess
from setsail.serve.models import ServedModel
from setsail.serve.run import serve
from setsail.tokens.tokenizer import load

folder = Path(sys.argv[1])
settings = Serve.model_validate_json(sys.argv[2])
tokenizer = load(folder)
engine = EngineProcess("echo", folder / "echo.json", 4096, settings.slots).start()
slow = EngineProcess("echo", folder / "slow.json", 4096, settings.slots)
models = {
    "support": ServedModel("support", tokenizer, engine, 4096, 0, "abc"),
    "slow": ServedModel("slow", tokenizer, slow, 4096, 0, "abc", start=slow.start),
}
serve(models, settings, on_listening=lambda url: print(url, flush=True))
print("left", flush=True)
"""


PREDICTING = """
import sys, threading
from pathlib import Path
from serve.toy_predictors import DOES, ToyPredictor
from setsail.base.recipe import Serve
from setsail.serve.batching import PredictorThread
from setsail.serve.predictors import ServedPredictor
from setsail.serve.run import serve
from setsail.tokens.tokenizer import load

settings = Serve.model_validate_json(sys.argv[2])
toy = ToyPredictor(at_once=1, seconds=0.2)
engine = PredictorThread(lambda: toy).start()
threading.Thread(target=lambda: toy.asked.wait() and print("asked", flush=True), daemon=True).start()
models = {"desk": ServedPredictor("desk", load(Path(sys.argv[1])), engine, 0, "abc", DOES["classify"])}
serve(models, settings, on_listening=lambda url: print(url, flush=True))
print("left", flush=True)
"""
TESTS = Path(__file__).parent.parent


@contextlib.contextmanager
def process(
    folder: Path, *, pace: float, drain_seconds: float, script: str = SCRIPT
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    make_tokenizer(folder)
    (folder / "echo.json").write_text(json.dumps({"tokens_per_second": pace, "rounds": 1000}))
    (folder / "slow.json").write_text(json.dumps({"load_seconds": 60}))
    settings = Serve(port=0, drain_seconds=drain_seconds, max_tokens=40).model_dump_json()
    command = [sys.executable, "-c", script, str(folder), settings]
    where = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=where) as child:
        try:
            assert child.stdout is not None
            yield child, child.stdout.readline().strip()
        finally:
            child.kill()


def start_stream(url: str, lines: list[str]) -> threading.Thread:
    def read() -> None:
        with httpx.stream("POST", url + "/v1/chat/completions", json=chat_body(stream=True), timeout=60) as response:
            lines.extend(response.iter_lines())

    thread = threading.Thread(target=read)
    thread.start()
    time.sleep(0.5)
    return thread


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_running_streams_finish_and_new_requests_hear_503(tmp_path: Path, number: signal.Signals) -> None:
    with process(tmp_path, pace=20, drain_seconds=30) as (child, url):
        engines = psutil.Process(child.pid).children(recursive=True)
        lines: list[str] = []
        stream = start_stream(url, lines)
        child.send_signal(number)
        asked = time.monotonic()
        while httpx.get(url + "/ready").status_code != 503:
            assert time.monotonic() - asked < 30, "the server never said that it leaves"
        refused = httpx.post(url + "/v1/chat/completions", json=chat_body())
        assert refused.status_code == 503 and refused.json()["error"]["code"] == "shutting_down"
        assert httpx.get(url + "/health").status_code == 200
        stream.join(20)
        assert [line for line in lines if line][-1] == "data: [DONE]"
        assert '"finish_reason":"length"' in lines[-4]
        assert child.wait(10) == 0
        assert child.stdout is not None and child.stdout.read() == "left\n"
        assert engines and psutil.wait_procs(engines, timeout=5)[1] == []


def test_past_the_drain_time_streams_hear_an_error(tmp_path: Path) -> None:
    with process(tmp_path, pace=2, drain_seconds=0.5) as (child, url):
        lines: list[str] = []
        stream = start_stream(url, lines)
        child.terminate()
        assert child.wait(10) == 0
        stream.join(5)
        last = json.loads([line for line in lines if line][-1].removeprefix("data: "))
        assert last["error"]["code"] == "shutting_down"


def test_the_second_signal_means_now(tmp_path: Path) -> None:
    with process(tmp_path, pace=2, drain_seconds=60) as (child, url):
        stream = start_stream(url, [])
        child.terminate()
        time.sleep(0.3)
        assert child.poll() is None
        child.terminate()
        assert child.wait(10) == 0
        stream.join(5)


def test_leaving_does_not_wait_for_an_engine_that_is_loading(tmp_path: Path) -> None:
    with process(tmp_path, pace=0, drain_seconds=0.3) as (child, url):
        body = {**chat_body(), "model": "slow"}
        asking = threading.Thread(target=lambda: httpx.post(url + "/v1/chat/completions", json=body, timeout=60))
        asking.start()
        time.sleep(1.0)
        child.terminate()
        assert child.wait(15) == 0
        asking.join(5)


def ask_in_thread(
    child: subprocess.Popen[str], url: str, num_inputs: int
) -> tuple[threading.Thread, list[httpx.Response]]:
    """A request that has been let in, and where its answer will stand."""
    answers: list[httpx.Response] = []
    body = {"inputs": ["hello"] * num_inputs}
    asking = threading.Thread(target=lambda: answers.append(httpx.post(url + "/predict", json=body, timeout=60)))
    asking.start()
    assert child.stdout is not None and child.stdout.readline() == "asked\n"
    return asking, answers


def test_predictions_that_run_are_finished_before_it_leaves(tmp_path: Path) -> None:
    with process(tmp_path, pace=0, drain_seconds=30, script=PREDICTING) as (child, url):
        asking, answers = ask_in_thread(child, url, 20)
        child.terminate()
        while httpx.get(url + "/ready").status_code != 503:
            pass
        refused = httpx.post(url + "/predict", json={"inputs": "late"})
        assert refused.status_code == 503 and refused.json()["error"]["code"] == "shutting_down"
        asking.join()
        assert answers[0].status_code == 200 and len(answers[0].json()["predictions"]) == 20
        assert child.wait() == 0
        assert child.stdout is not None and child.stdout.read() == "left\n"


def test_past_the_drain_time_predictions_hear_that_it_leaves(tmp_path: Path) -> None:
    with process(tmp_path, pace=0, drain_seconds=0.3, script=PREDICTING) as (child, url):
        asking, answers = ask_in_thread(child, url, 1000)
        child.terminate()
        assert child.wait() == 0
        asking.join()
        assert answers[0].status_code == 503 and answers[0].json()["error"]["code"] == "shutting_down"


def test_a_taken_port_is_refused_with_a_hint() -> None:
    with take_port("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP  # or asyncio leaves Nagle's algorithm on
        port = listener.getsockname()[1]
        with pytest.raises(SystemRefusal, match="cannot listen") as caught:
            serve({}, Serve(port=port))
    assert caught.value.hint is not None and f"--port {port + 1}" in caught.value.hint
    with pytest.raises(SystemRefusal):
        take_port("203.0.113.7", 0)


def test_other_machines_need_a_key() -> None:
    for host in ("0.0.0.0", "::", "192.168.1.5", "gpu-7.lan"):
        with pytest.raises(UserError, match="no API key"):
            refuse_open_door(Serve(host=host), None)
        refuse_open_door(Serve(host=host), "0" * 64)
    refuse_open_door(Serve(), None)
