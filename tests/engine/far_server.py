"""A server of a few lines that speaks OpenAI's completions as vLLM, SGLang, llama.cpp or Ollama do, or badly.

It answers with the prompt's tokens in reverse, like the echo engine. What it understands is set by its attributes; a
`trick` takes over what follows the trials of an engine that opens.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from setsail.tokens.tokenizer import Tokenizer

KEY = "sk-far-secret"
BOX = "text/event-stream"
Json = dict[str, Any]
Trick = Callable[["Answers", Json], None]


class FarServer(ThreadingHTTPServer):
    """By default as vLLM: it takes token ids and vLLM's own fields, and gives token ids back."""

    daemon_threads = True

    def __init__(self, tokenizer: Tokenizer, *, port: int = 0, key: str = KEY) -> None:
        self.key = key
        self.tokenizer = tokenizer
        self.takes_ids = self.takes_more = self.gives_ids = self.counts = True
        self.own_template = 0  # so many tokens of its own stand around a prompt
        self.is_ollama = False
        self.models: list[Json] = [{"id": "desk", "max_model_len": 200}]
        self.trick: Trick | None = None
        self.bodies: list[Json] = []
        self.paths: list[str] = []
        self.gone: list[float] = []  # when a client left in the middle
        super().__init__(("127.0.0.1", port), Answers)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        self.gone.append(time.monotonic())

    @contextlib.contextmanager
    def listening(self) -> Iterator[FarServer]:
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.shutdown()
            self.server_close()
            thread.join()


class Answers(BaseHTTPRequestHandler):
    server: FarServer

    def do_GET(self) -> None:
        if self._is_let_in():
            self.whole(200, {"object": "list", "data": self.server.models})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._is_let_in():
            return
        self.server.bodies.append(body)
        self.server.paths.append(self.path)
        if self.server.trick is not None:
            self.server.trick(self, body)
        elif self.path == "/v1/completions":
            self._complete(body)
        elif self.path == "/api/generate" and self.server.is_ollama:
            self._generate(body)
        else:
            self.whole(404, {"error": "nothing here"})

    def _is_let_in(self) -> bool:
        if self.headers["Authorization"] == f"Bearer {self.server.key}":
            return True
        self.whole(401, {"error": {"message": f"wrong key: {self.headers['Authorization']}"}})
        return False

    def _complete(self, body: Json) -> None:
        server = self.server
        if isinstance(body["prompt"], list) and not server.takes_ids:
            return self.whole(400, {"error": {"message": "prompt should be a string"}})
        if "stop_token_ids" in body and not server.takes_more:
            return self.whole(422, {"error": {"message": "unknown field stop_token_ids"}})
        ids = body["prompt"] if isinstance(body["prompt"], list) else server.tokenizer.encode(body["prompt"])
        reply = ids[::-1][: body["max_tokens"]]
        self.begin()
        for token_id in reply:
            self.event({"choices": [self.choice(token_id, body)]})
        self.event(
            {"choices": [{"index": 0, "text": "", "finish_reason": "length" if len(ids) > len(reply) else "stop"}]}
        )
        if server.counts and body.get("stream_options"):
            self.event({"choices": [], "usage": {"prompt_tokens": len(ids) + server.own_template}})
        self.raw(b"data: [DONE]\n\n")

    def choice(self, token_id: int, body: Json) -> Json:
        text = self.server.tokenizer.decode([token_id], skip_special=False)
        choice: Json = {"index": 0, "text": text, "finish_reason": None}
        if self.server.gives_ids and body.get("return_token_ids"):
            choice["token_ids"] = [token_id]
        if body.get("logprobs"):
            name = f"token_id:{token_id}" if body.get("return_tokens_as_token_ids") else text
            top = {name: -0.5, "token_id:9": -1.5}
            choice["logprobs"] = {"tokens": [name], "token_logprobs": [-0.5], "top_logprobs": [top]}
        return choice

    def _generate(self, body: Json) -> None:
        assert body["raw"] is True
        ids = self.server.tokenizer.encode(body["prompt"])
        reply = ids[::-1][: body["options"]["num_predict"]]
        self.begin("application/x-ndjson")
        for token_id in reply:
            self.raw(json.dumps({"response": self.server.tokenizer.decode([token_id]), "done": False}).encode() + b"\n")
        reason = "length" if len(ids) > len(reply) else "stop"
        last = {"response": "", "done": True, "done_reason": reason, "prompt_eval_count": len(ids)}
        self.raw(json.dumps(last).encode() + b"\n")

    def begin(self, kind: str = BOX) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()

    def event(self, payload: object) -> None:
        self.raw(b"data: " + json.dumps(payload).encode() + b"\n\n")

    def raw(self, data: bytes) -> None:
        self.wfile.write(data)
        self.wfile.flush()

    def whole(self, status: int, payload: object, **headers: str) -> None:
        sent = json.dumps(payload).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(sent)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, format: str, *args: object) -> None:
        pass
