"""The chat page: its files, read once from the package, and how they are sent.

No path of a request is ever turned into a file's path. The invariant: the page loads nothing from anywhere else, and
its security policy says so to the browser.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files

from starlette.types import ASGIApp, Receive, Scope, Send

from setsail.serve.wire import header

_KINDS = {".html": b"text/html; charset=utf-8", ".css": b"text/css; charset=utf-8", ".js": b"text/javascript"}
_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class PageFile:
    """One file of the page."""

    content: bytes
    kind: bytes


def page_files() -> dict[str, PageFile]:
    """Address → file; the page itself is `/`, the others stand under `/page/`."""
    found: dict[str, PageFile] = {}
    for entry in files("setsail.serve").joinpath("page").iterdir():
        ending = entry.name[entry.name.rfind(".") :]
        if ending in _KINDS:
            address = "/" if entry.name == "index.html" else f"/page/{entry.name}"
            found[address] = PageFile(entry.read_bytes(), _KINDS[ending])
    return found


def send_page_file(file: PageFile) -> ASGIApp:
    """The file with its security headers; a browser that has it already is told so."""
    tag = b'"' + hashlib.sha256(file.content).hexdigest()[:16].encode() + b'"'

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        fresh = header(scope, b"if-none-match") == tag
        headers = [(b"content-type", file.kind), (b"etag", tag), (b"cache-control", b"no-cache")]
        headers.append((b"content-security-policy", _POLICY))
        body = b"" if fresh or scope["method"] == "HEAD" else file.content
        if not fresh:
            headers.append((b"content-length", str(len(file.content)).encode()))
        await send({"type": "http.response.start", "status": 304 if fresh else 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return route
