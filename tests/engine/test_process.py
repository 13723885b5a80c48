from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from setsail.base.errors import ModelError, SetsailError, UserError
from setsail.engine import EngineProcess, Finished, GenerationRequest, Token, Watch
from setsail.engine.child import Child

from .conftest import CONTEXT, OpenEcho

LONG = GenerationRequest(tuple(range(100)), 150)


def wait_until(condition: Callable[[], object], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return False


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_tokens_arrive_one_by_one_and_then_one_end(open_echo: OpenEcho) -> None:
    engine = open_echo()
    assert engine.state == "ready"
    assert list(engine.generate(GenerationRequest((1, 2), 5))) == [Token(2), Token(1), Finished("stop")]
    assert engine.num_in_flight == 0


def test_a_killed_engine_ends_all_in_flight_within_two_seconds_and_comes_back(open_echo: OpenEcho) -> None:
    said: list[str] = []
    engine = open_echo(tokens_per_second=50.0, rounds=10, say=said.append)
    ends: queue.SimpleQueue[Token | Finished] = queue.SimpleQueue()
    for _ in range(8):  # more than there are slots: those that wait must be told too
        engine.submit(LONG, lambda event: ends.put(event) if isinstance(event, Finished) else None)
    pid = engine.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    told = [ends.get(timeout=2.0) for _ in range(8)]
    assert all(end == Finished("error", "the engine's process was killed by SIGKILL") for end in told)
    assert wait_until(lambda: engine.state == "ready")
    assert engine.pid != pid
    assert list(engine.generate(GenerationRequest((1, 2), 1))) == [Token(2), Finished("length")]
    assert ends.empty()
    assert "SIGKILL" in said[0]


def test_while_it_is_down_a_request_fails_at_once(open_echo: OpenEcho) -> None:
    engine = open_echo(watch=Watch(backoff_seconds=30.0))
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGKILL)
    assert wait_until(lambda: engine.state == "restarting")
    assert list(engine.generate(LONG)) == [Finished("error", "the engine is restarting")]
    assert not engine.probe(1.0)


def test_it_gives_up_when_it_dies_too_often(open_echo: OpenEcho) -> None:
    engine = open_echo(watch=Watch(backoff_seconds=0.01, num_restarts=2))
    engine.model.unlink()
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGKILL)
    assert wait_until(lambda: engine.state == "failed")
    assert engine.failure is not None
    assert list(engine.generate(LONG)) == [Finished("error", "the engine is failed")]


def test_a_model_that_cannot_be_loaded_raises_the_error_of_the_child(tmp_path: Path) -> None:
    engine = EngineProcess("echo", tmp_path / "missing.json", 8, 1)
    with pytest.raises(ModelError, match="not an echo model") as caught:
        engine.start()
    assert caught.value.hint
    assert engine.state == "closed"
    with pytest.raises(UserError, match="did you mean"):
        EngineProcess("opnvino", tmp_path, 8, 1).start()


def test_an_engine_that_does_not_load_in_time_is_ended(tmp_path: Path) -> None:
    model = tmp_path / "echo.json"
    model.write_text('{"load_seconds": 600}')
    engine = EngineProcess("echo", model, 8, 1, watch=Watch(load_seconds=1.0))
    with pytest.raises(SetsailError, match="did not load within 1 seconds"):
        engine.start()
    assert engine.state == "closed"


def test_the_probe_notices_a_wedged_engine_and_passes_a_busy_one(open_echo: OpenEcho) -> None:
    engine = open_echo(tokens_per_second=50.0, rounds=100)
    assert engine.probe(5.0)
    for _ in range(8):
        engine.submit(LONG, lambda event: None)
    assert engine.probe(5.0)
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGSTOP)
    time.sleep(0.2)  # what it had written before is not a sign of life
    started = time.monotonic()
    assert not engine.probe(0.5)
    assert time.monotonic() - started < 2.0
    os.kill(engine.pid, signal.SIGCONT)
    assert engine.probe(5.0)


def test_a_wedged_engine_is_killed_and_started_again(open_echo: OpenEcho) -> None:
    engine = open_echo(tokens_per_second=50.0, rounds=100, watch=Watch(stall_seconds=0.5, backoff_seconds=0.05))
    ends: queue.SimpleQueue[Finished] = queue.SimpleQueue()
    engine.submit(LONG, lambda event: ends.put(event) if isinstance(event, Finished) else None)
    pid = engine.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    assert ends.get(timeout=10.0).reason == "error"
    assert wait_until(lambda: engine.state == "ready" and engine.pid != pid)


def test_closing_the_iterator_cancels(open_echo: OpenEcho) -> None:
    engine = open_echo(tokens_per_second=20.0, rounds=100)
    events = engine.generate(LONG)
    assert next(events) == Token(99)
    events.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert wait_until(lambda: engine.num_in_flight == 0, seconds=2.0)


def test_a_failing_callback_does_not_stop_the_others(open_echo: OpenEcho) -> None:
    said: list[str] = []
    engine = open_echo(say=said.append)

    def fail(_: object) -> None:
        raise RuntimeError("the client left")

    engine.submit(GenerationRequest((1, 2), 5), fail)
    assert list(engine.generate(GenerationRequest((3, 4), 5)))[-1] == Finished("stop")
    assert any("the client left" in text for text in said)


def test_closing_cancels_what_is_in_flight_and_leaves_no_process(open_echo: OpenEcho) -> None:
    engine = open_echo(tokens_per_second=20.0, rounds=100)
    ends: queue.SimpleQueue[Token | Finished] = queue.SimpleQueue()
    engine.submit(LONG, lambda event: ends.put(event) if isinstance(event, Finished) else None)
    pid = engine.pid
    assert pid is not None
    engine.close()
    assert ends.get(timeout=2.0) == Finished("cancelled", "the engine was closed")
    assert gone(pid)
    assert engine.state == "closed"
    engine.close()


def test_text_operations_reach_the_engine(open_echo: OpenEcho) -> None:
    engine = open_echo()
    assert engine.tokenize("hé") == [104, 195, 169]
    assert engine.apply_template([{"role": "user", "content": "x"}]) == "user: x\n"


def test_a_prompt_over_the_context_is_refused_before_it_travels(open_echo: OpenEcho) -> None:
    with pytest.raises(UserError, match=f"the context holds {CONTEXT}"):
        open_echo().submit(GenerationRequest((1,) * CONTEXT, 1), lambda event: None)


PARENT = """
import sys, time
from pathlib import Path
from setsail.engine import EngineProcess, GenerationRequest
engine = EngineProcess("echo", Path(sys.argv[1]), 256, 4).start()
events = engine.generate(GenerationRequest(tuple(range(100)), 150))
next(events)
print(engine.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_parent_that_is_killed_takes_the_child_with_it(tmp_path: Path, how: signal.Signals) -> None:
    model = tmp_path / "echo.json"
    model.write_text('{"tokens_per_second": 20, "rounds": 100}')
    arguments = [sys.executable, "-c", textwrap.dedent(PARENT), str(model)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert psutil.pid_exists(pid)
        parent.send_signal(how)
        parent.wait(10)
    assert wait_until(lambda: gone(pid), seconds=5.0)


def test_the_child_leaves_stop_signals_to_its_parent(open_echo: OpenEcho) -> None:
    engine = open_echo(tokens_per_second=50.0)
    events = engine.generate(GenerationRequest(tuple(range(20)), 20))
    next(events)
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGTERM)
    os.kill(engine.pid, signal.SIGINT)
    assert list(events)[-1].__class__ is Finished
    assert engine.state == "ready"


FORKING = """
import os, sys, time
if os.fork() == 0:
    time.sleep(20)
    os._exit(0)
print('{"ready": {"name": "forking", "context": 8}}', flush=True)
time.sleep(20)
"""


def test_a_fork_of_the_child_that_holds_its_pipes_does_not_hide_its_death() -> None:
    child = Child([sys.executable, "-c", FORKING])
    messages = child.messages()
    assert next(messages) == {"ready": {"name": "forking", "context": 8}}
    [fork] = psutil.Process(child.pid).children()
    child.kill()
    started = time.monotonic()
    assert list(messages) == []
    assert child.reap() == "the engine's process was killed by SIGKILL"
    assert time.monotonic() - started < 2.0
    fork.kill()


def test_what_a_library_prints_does_not_reach_the_wire(tmp_path: Path) -> None:
    module = tmp_path / "chatter.py"
    module.write_text(
        "import os, setsail.engine.worker as w\nw._keep_output_to_ourselves().write(b'{}\\n')\nos.write(1, b'noise')"
    )
    done = subprocess.run([sys.executable, str(module)], capture_output=True, check=True)
    assert done.stdout == b"{}\n"
    assert done.stderr == b"noise"
