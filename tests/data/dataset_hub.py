"""A small local server that speaks the file API of a hub for data sets, and keeps what it was asked."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "89abcdef0123456789abcdef0123456789abcdef"
_API = re.compile(
    r"/api/datasets/(?P<name>[^/]+/[^/]+)(?:/(?P<verb>revision|tree|paths-info)/(?P<revision>[^/]+)(?P<path>.*))?"
)
_FILE = re.compile(r"/datasets/(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")


@dataclass
class DataSetHub:
    """What it has, name → path → content, and the requests that it answered."""

    data_sets: Mapping[str, Mapping[str, bytes]]
    gated: frozenset[str] = frozenset()
    endpoint: str = ""
    asked: list[str] = field(default_factory=list)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = unquote(urlsplit(request.path).path)
        length = int(request.headers.get("Content-Length") or 0)
        body = request.rfile.read(length)
        self.asked.append(f"{request.command} {path}")
        found = _API.fullmatch(path) or _FILE.fullmatch(path)
        if found is None:
            return _send(request, 404, b"{}", {"X-Error-Code": "EntryNotFound"})
        if found["name"] in self.gated:
            return _send(request, 403, b"{}", {"X-Error-Code": "GatedRepo"})
        if found["name"] not in self.data_sets:
            return _send(request, 404, b"{}", {"X-Error-Code": "RepoNotFound"})
        if found["revision"] not in (None, COMMIT, "main", "v1"):
            return _send(request, 404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        files = self.data_sets[found["name"]]
        if "verb" not in found.groupdict():
            return _send_file(request, files.get(found["path"]))
        return _send(request, 200, json.dumps(_facts(found, files, body)).encode())


def _facts(found: re.Match[str], files: Mapping[str, bytes], body: bytes) -> object:
    if found["verb"] in ("tree", "paths-info"):
        under = (found["path"] or "").strip("/")
        entries = [_entry(path, content) for path, content in files.items() if path.startswith(under)]
        folders = sorted({path.rsplit("/", 1)[0] for path in files if "/" in path and path.startswith(under)} - {under})
        entries += [{"type": "directory", "path": path, "size": 0, "oid": _sha1(path.encode())} for path in folders]
        if found["verb"] == "tree":
            return entries
        wanted = set(json.loads(body)["paths"])
        return [entry for entry in entries if entry["path"] in wanted]
    siblings = [{"rfilename": path} for path in files]
    return {"id": found["name"], "sha": COMMIT, "siblings": siblings, "private": False, "tags": []}


def _entry(path: str, content: bytes) -> dict[str, object]:
    return {"type": "file", "path": path, "size": len(content), "oid": _sha1(content)}


def _send_file(request: BaseHTTPRequestHandler, content: bytes | None) -> None:
    if content is None:
        return _send(request, 404, b"{}", {"X-Error-Code": "EntryNotFound"})
    headers = {"ETag": f'"{_sha1(content)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
    if asked and request.command == "GET":
        first, last = int(asked[1]), min(int(asked[2] or len(content) - 1), len(content) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        return _send(request, 206, content[first : last + 1], headers)
    return _send(request, 200, content, headers)


def _send(request: BaseHTTPRequestHandler, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
    request.send_response(status)
    for name, value in (headers or {}).items():
        request.send_header(name, value)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body)


def _sha1(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


@contextmanager
def serve(hub: DataSetHub) -> Iterator[DataSetHub]:
    """The hub on a free port of this machine."""

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            hub.answer(self)

        do_HEAD = do_GET
        do_POST = do_GET

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
