"""A chat server of a few lines, that says what a function makes of a prompt."""

from __future__ import annotations

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class ChatServer(ThreadingHTTPServer):
    """Speaks as much of OpenAI's chat API as is needed, and is busy from the `busy_after`th question on."""

    def __init__(self, say: Callable[[str], str]) -> None:
        self.say = say
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.busy_after = 10**6
        super().__init__(("127.0.0.1", 0), Answers)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Answers(BaseHTTPRequestHandler):
    server: ChatServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions" or len(self.server.bodies) >= self.server.busy_after:
            self.send_error(503)
            return
        self.server.bodies.append(body)
        self.server.keys.add(self.headers["Authorization"])
        choice = {"message": {"content": self.server.say(body["messages"][0]["content"])}, "finish_reason": "stop"}
        answer = {"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
        sent = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, format: str, *args: object) -> None:
        pass
