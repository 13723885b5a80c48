"""A small local server that speaks the file API of a Hugging Face hub, and counts what it is asked."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What the hub has, what it was asked, and how often it breaks off in the middle of a weight file."""

    repositories: dict[str, Path]
    gated: frozenset[str] = frozenset()
    break_offs: int = 0
    endpoint: str = ""
    ranges: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        parts = [unquote(part) for part in urlsplit(request.path).path.strip("/").split("/")]
        api = parts[:2] == ["api", "models"]
        name = "/".join(parts[2:4] if api else parts[:2])
        if name in self.gated:
            return _fail(request, 403, "GatedRepo")
        if name not in self.repositories:
            return _fail(request, 404, "RepoNotFound")
        rest = parts[4:] if api else parts[2:]
        if len(rest) > 1 and rest[1] not in (COMMIT, "main", "v1"):
            return _fail(request, 404, "RevisionNotFound")
        folder = self.repositories[name]
        if not api:
            return self._send_file(request, folder / "/".join(rest[2:]))
        sizes = {
            file.relative_to(folder).as_posix(): file.stat().st_size for file in folder.rglob("*") if file.is_file()
        }
        if rest[:1] == ["tree"]:
            entries = [{"type": "file", "path": path, "size": size, "oid": _sha1(path)} for path, size in sizes.items()]
            return _send_json(request, entries)
        siblings = [{"rfilename": path} for path in sizes]
        return _send_json(request, {"id": name, "sha": COMMIT, "siblings": siblings, "private": False, "tags": []})

    def _send_file(self, request: BaseHTTPRequestHandler, file: Path) -> None:
        if not file.is_file():
            return _fail(request, 404, "EntryNotFound")
        content = file.read_bytes()
        start = 0
        if request.command == "GET":
            self.files.append(file.name)
            asked = request.headers.get("Range")
            if asked:
                self.ranges.append(asked)
                start = int(asked.removeprefix("bytes=").split("-")[0])
        request.send_response(206 if start else 200)
        request.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        request.send_header("X-Repo-Commit", COMMIT)
        request.send_header("Accept-Ranges", "bytes")
        request.send_header("Content-Length", str(len(content) - start))
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.end_headers()
        if request.command == "HEAD":
            return
        if file.suffix == ".safetensors" and self.break_offs > 0:
            self.break_offs -= 1
            request.wfile.write(content[start : start + (len(content) - start) // 2])
            request.wfile.flush()
            request.close_connection = True
            return
        request.wfile.write(content[start:])


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """The hub on a free port of this machine."""

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            hub.answer(self)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _send_json(request: BaseHTTPRequestHandler, value: object) -> None:
    body = json.dumps(value).encode()
    request.send_response(200)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body)


def _fail(request: BaseHTTPRequestHandler, status: int, code: str) -> None:
    request.send_response(status)
    request.send_header("X-Error-Code", code)
    request.send_header("Content-Length", "0")
    request.end_headers()


def _sha1(path: str) -> str:
    return hashlib.sha1(path.encode(), usedforsecurity=False).hexdigest()
