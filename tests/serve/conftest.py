"""A real server on a real socket, with the echo engine behind it: what every test of this room talks to.

The echo engine answers with the prompt's tokens in reverse; the toy template never closes a turn, so that the answer to
"abc" begins with " :tnatsissa\\ncba :resu". To be told X, a test asks for X reversed and skips `LEAD`.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import tokenizers
import uvicorn
from tokenizers import decoders, models, pre_tokenizers

from setsail.base.recipe import Serve
from setsail.engine.process import EngineProcess, Watch
from setsail.serve.app import build_app
from setsail.serve.batching import PredictorThread
from setsail.serve.models import ServedModel
from setsail.serve.predictors import ServedPredictor
from setsail.serve.service import Service
from setsail.tokens import tokenizer as tokenizer_module
from setsail.tokens.tokenizer import Tokenizer

from .toy_predictors import DOES, ToyPredictor

LEAD = " :tnatsissa\n"
TEMPLATE = (
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)


def make_tokenizer(folder: Path, extra: str = "") -> Tokenizer:
    """One token per byte, `<|end|>` as eos; the characters of `extra` are tokens of their own."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = tokenizers.Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<|end|>"])
    backend.add_tokens([tokenizers.AddedToken(c, normalized=False) for c in dict.fromkeys(extra)])
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|end|>"}))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return tokenizer_module.load(folder)


@dataclass
class Running:
    """A server in a thread: its address, its state, and what it logged."""

    url: str
    service: Service
    engine: Any
    lines: list[str]
    app: Any
    headers: dict[str, str] = field(default_factory=dict)

    def post(self, path: str, body: Any, **more: Any) -> httpx.Response:
        return httpx.post(self.url + path, json=body, headers=self.headers, timeout=60, **more)

    def chat(self, text: str = "hello", **options: Any) -> httpx.Response:
        body = {"model": "support", "messages": [{"role": "user", "content": text}], **options}
        return self.post("/v1/chat/completions", body)

    def wait_for_line(self, num_lines: int) -> str:
        """The last line of the log, once it has so many; lines are written after the answer has left."""
        deadline = time.monotonic() + 5
        while len(self.lines) < num_lines:
            assert time.monotonic() < deadline, self.lines
            time.sleep(0.005)
        return self.lines[-1]

    def wait_until_idle(self, seconds: float) -> float:
        """How long it took until no slot was held and the engine had nothing in flight."""
        started_at = time.monotonic()
        gates = [model.gate for model in self.service.models.values()]
        while any(gate.num_running or gate.num_waiting for gate in gates) or self.engine.num_in_flight:
            assert time.monotonic() - started_at < seconds, "a slot is still held"
            time.sleep(0.005)
        return time.monotonic() - started_at


def chat_body(text: str = "hello", **options: Any) -> dict[str, Any]:
    return {"model": "support", "messages": [{"role": "user", "content": text}], **options}


@contextlib.contextmanager
def listening(app: Any) -> Iterator[str]:
    """The app on a free port of this machine, in a thread of its own."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="off"))
    server.config.timeout_graceful_shutdown = 1
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


StartServer = Callable[..., Running]


@contextlib.contextmanager
def starter(folder: Path) -> Iterator[StartServer]:
    """Starts servers: `start(pace=50, rounds=100, settings=Serve(...), key_sha256=..., two=True, task="text")`."""
    with contextlib.ExitStack() as stack:

        def echo(name: str, context: int, settings: Serve, pace: float, rounds: int) -> EngineProcess:
            file = folder / f"{name}.json"
            file.write_text(json.dumps({"tokens_per_second": pace, "rounds": rounds}))
            watch = Watch(backoff_seconds=0.5)
            engine = EngineProcess("echo", file, context, settings.slots, watch=watch, say=lambda text: None)
            stack.callback(engine.close)
            return engine

        def start(
            *,
            pace: float = 0.0,
            rounds: int = 1,
            context: int = 4096,
            settings: Serve | None = None,
            key_sha256: str | None = None,
            two: bool = False,
            extra: str = "",
            **asked: str,
        ) -> Running:
            settings = settings or Serve()
            tokenizer = make_tokenizer(folder / "tokenizer", extra)
            engine = echo("support", context, settings, pace, rounds).start()
            lineage = "abc123def456"
            served = {"support": ServedModel("support", tokenizer, engine, context, 1_700_000_000, lineage, **asked)}
            if two:
                base = echo("base", context, settings, pace, rounds)
                served["base"] = ServedModel("base", tokenizer, base, context, 1, "fed321", start=base.start, **asked)
            lines: list[str] = []
            app = build_app(served, settings, api_key_sha256=key_sha256, log=lines.append)
            url = stack.enter_context(listening(app))
            return Running(url, app.state.service, engine, lines, app)

        yield start


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    with starter(tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One quick server for all tests of a file that leave nothing behind."""
    with starter(tmp_path_factory.mktemp("server")) as start:
        yield start(settings=Serve(max_tokens=2048))


@dataclass
class Predicting:
    """Servers of predictors: `start(ToyPredictor("rank"), settings=Serve(...), key_sha256=...)`."""

    stack: contextlib.ExitStack
    folder: Path

    def start(
        self, predictor: ToyPredictor, *, settings: Serve | None = None, key_sha256: str | None = None
    ) -> Running:
        engine = PredictorThread(lambda: predictor).start()
        self.stack.callback(engine.close)
        self.stack.callback(predictor.open.set)
        tokenizer = make_tokenizer(self.folder / "tokenizer")
        served = ServedPredictor("desk", tokenizer, engine, 1_700_000_000, "abc123def456", DOES[predictor.task])
        lines: list[str] = []
        app = build_app({"desk": served}, settings or Serve(), api_key_sha256=key_sha256, log=lines.append)
        url = self.stack.enter_context(listening(app))
        return Running(url, app.state.service, engine, lines, app)


@pytest.fixture
def predicting(tmp_path: Path) -> Iterator[Predicting]:
    with contextlib.ExitStack() as stack:
        yield Predicting(stack, tmp_path)
