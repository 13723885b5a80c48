"""Who answers in `make bench-serve`: each a process of its own that listens on a port or to a pipe.

All read the weights of the same run: the GGUF file that is served (8 bits), or where a contestant cannot read that,
what it makes of the merged folder. All have room for as many requests at once, of as many tokens.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import httpx
import psutil
from clients import Asked, OverHttp, OverPipe, Question

from setsail.base.recipe import Recipe
from setsail.base.run import Run
from setsail.engine.contract import Finished, GenerationRequest, Token
from setsail.engine.process import EngineProcess
from setsail.stages.answering.engines import context_of, file_to_serve, open_process
from setsail.tokens.tokenizer import Tokenizer

HERE = Path(__file__).parent
PEERS = HERE.parent / ".servevenv" / "bin"
OURS, BARE = "setsail serve", "setsail's engine, no HTTP"
PATIENCE_SECONDS = 300.0


@dataclass(frozen=True)
class Running:
    """Somebody to ask, and the processes whose memory counts."""

    asked: Asked
    process: psutil.Process

    def memory_bytes(self) -> int:
        """Private and shared memory, each shared page counted once."""
        family = [self.process, *self.process.children(recursive=True)]
        return sum(one.memory_full_info().pss for one in family)


Start = Callable[[], AbstractContextManager[Running]]


def contestants_of(run: Run, recipe: Recipe, tokenizer: Tokenizer, folder: Path) -> dict[str, Start]:
    """By name, how to start each; what has to be made first is made in `folder`."""
    model = file_to_serve(run.artifact("gguf"), recipe).path
    merged = run.artifact("merged").path
    context, slots = str(context_of(recipe)), str(recipe.serve.slots)
    python = str(PEERS / "python")

    def count(text: str) -> int:
        return len(tokenizer.encode(text))

    def http(command: list[str], name: str) -> Start:
        return partial(over_http, command, name, count)

    serve = [sys.executable, "-m", "setsail", "serve", str(alike(run, recipe, folder)), "--ourselves", "checked"]
    llamacpp = [python, str(HERE / "contestants/serve_llamacpp.py"), str(model), "PORT", slots, context]
    transformers = [str(PEERS / "transformers"), "serve", str(merged), "--device", "cpu"]
    openvino = [python, str(HERE / "contestants/serve_openvino.py"), str(model), slots, context]
    genai = [python, str(HERE / "contestants/serve_genai.py"), str(built(merged, folder)), slots, context]
    return {
        OURS: http([*serve, "--port", "PORT"], recipe.name),
        BARE: partial(own_engine, run, recipe),
        "OpenVINO GenAI, no HTTP": partial(over_pipe, openvino),
        "llama.cpp server": http(llamacpp, "any"),
        "transformers serve": http([*transformers, "--port", "PORT"], str(merged)),
        "onnxruntime-genai int4, no HTTP": partial(over_pipe, genai),
    }


def alike(run: Run, recipe: Recipe, folder: Path) -> Path:
    """The run with the recipe's slots and context, its artefacts where they are."""
    linked = folder / "run"
    linked.mkdir()
    for path in run.path.iterdir():
        if path.name != "recipe.yaml":
            (linked / path.name).symlink_to(path.resolve())
    (linked / "recipe.yaml").write_text(json.dumps(recipe.resolved()))  # JSON is YAML too
    return linked


def built(merged: Path, folder: Path) -> Path:
    """The ONNX model that onnxruntime-genai's own builder makes of a folder, at 4 bits: it has no 8."""
    made = folder / "genai"
    command = [str(PEERS / "python"), "-m", "onnxruntime_genai.models.builder", "-i", str(merged), "-o", str(made)]
    command += ["-p", "int4", "-e", "cpu", "-c", str(folder / "cache")]
    subprocess.run(command, check=True, capture_output=True)
    shutil.rmtree(folder / "cache", ignore_errors=True)
    return made


@contextmanager
def started(command: list[str], **streams: int | IO[str]) -> Iterator[subprocess.Popen[str]]:
    """A process that is ended with all its children."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    environment.pop("SETSAIL_API_KEY", None)
    with subprocess.Popen(
        command, text=True, stderr=subprocess.DEVNULL, env=environment, start_new_session=True, **streams
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def over_http(command: list[str], model: str, count_tokens: Callable[[str], int]) -> Iterator[Running]:
    """A server that has said that it is well."""
    port = free_port()
    words = [str(port) if word == "PORT" else word for word in command]
    with started(words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            with suppress(httpx.TransportError):
                if httpx.get(f"http://127.0.0.1:{port}/health", timeout=10).is_success:
                    break
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{command[:3]} did not start")
            time.sleep(0.02)
        yield Running(OverHttp(port, model, count_tokens), psutil.Process(process.pid))


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextmanager
def over_pipe(command: list[str]) -> Iterator[Running]:
    with started(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        if process.stdout.readline().strip() != "ready":
            raise RuntimeError(f"{command[:2]} did not start")
        yield Running(OverPipe(process), psutil.Process(process.pid))


class OwnEngine:
    """The engine process that our server has behind it, asked without the server."""

    def __init__(self, process: EngineProcess) -> None:
        self._process = process

    def ask(self, question: Question, until: float) -> Iterator[int]:
        request = GenerationRequest(tuple(question.ids), question.max_tokens, stop_ids=tuple(question.stop_ids))
        for event in self._process.generate(request):
            if isinstance(event, Token):
                yield 1
            elif isinstance(event, Finished) and event.reason not in ("stop", "length"):
                raise RuntimeError(event.message)
            if time.monotonic() > until:
                raise TimeoutError


@contextmanager
def own_engine(run: Run, recipe: Recipe) -> Iterator[Running]:
    with open_process(file_to_serve(run.artifact("gguf"), recipe), recipe) as process:
        assert process.pid is not None
        yield Running(OwnEngine(process), psutil.Process(process.pid))
