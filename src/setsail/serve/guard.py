"""What stands before every route: the log and last net, the Host check, the key, and the closed door while leaving.

Pure ASGI, because Starlette's BaseHTTPMiddleware hides it when a client leaves. The invariant: nothing but the open
addresses is answered without a key, and no request's text, key or query reaches the log.
"""

from __future__ import annotations

import hmac
import ipaddress
import sys
import time
from collections.abc import Callable

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from setsail.serve.audit import Audit
from setsail.serve.errors import ApiError, fault_of
from setsail.serve.figures import Figures
from setsail.serve.keyring import Keyring
from setsail.serve.keys import ENVIRONMENT, hash_of
from setsail.serve.note import NOTE, Note
from setsail.serve.service import Service
from setsail.serve.wire import ClientLeft, header, send_error

# As nginx writes it: the client closed the connection before there was an answer.
CLIENT_LEFT = 499
_LONGEST_PATH = 200
_SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


def is_loopback(host: str) -> bool:
    """Whether an address to bind to is reached from this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def log_to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """Text for a log line: control and other invisible characters escaped, and cut short.

    >>> printable("/a\\nb\\x1b[31m")
    '/a\\\\nb\\\\x1b[31m'
    """
    short = text if len(text) <= _LONGEST_PATH else text[:_LONGEST_PATH] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in short)


class Edge:
    """The outermost layer: counts every request, answers every error in OpenAI's shape, writes the access log."""

    def __init__(
        self,
        app: ASGIApp,
        service: Service,
        figures: Figures,
        *,
        log: Callable[[str], None],
        audit: Audit | None = None,
    ) -> None:
        self._app = app
        self._service = service
        self._figures = figures
        self._log = log
        self._audit = audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        started_at = time.monotonic()
        note = scope[NOTE] = Note()
        status = 0

        async def watched_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], *_SECURITY_HEADERS]}
            await send(message)

        self._service.num_active += 1
        try:
            await self._app(scope, receive, watched_send)
        except ClientLeft:
            status = status or CLIENT_LEFT
        except (ApiError, HTTPException) as error:
            if not status:
                await send_error(watched_send, _refusal(error), receive)
        except Exception as error:  # the last net of the process: a fault of ours ends one request only
            self._log(f"fault: {fault_of(error)}")
            if not status:
                await send_error(watched_send, ApiError(500, "this is a fault of the server", code="internal_error"))
        finally:
            self._service.num_active -= 1
            seconds = time.monotonic() - started_at
            self._figures.count(scope["path"], status or CLIENT_LEFT, note, seconds)
            self._write_audit(scope, status or CLIENT_LEFT, note, seconds)  # first: whoever sees the log finds its line
            self._log(_line(scope, status or CLIENT_LEFT, note, seconds))

    def _write_audit(self, scope: Scope, status: int, note: Note, seconds: float) -> None:
        if self._audit is None:
            return
        asked = {"key": note.key or None, "method": printable(scope["method"]), "path": printable(scope["path"])}
        answered = {"status": status, "model": note.model or None, "lineage": note.lineage or None}
        counts = {"prompt_tokens": note.num_prompt, "written_tokens": note.num_tokens, "seconds": round(seconds, 3)}
        try:
            self._audit.write(**asked, **answered, **counts)
        except OSError as error:
            self._log(f"a line of the audit is lost: {error.strerror}")


def _refusal(error: ApiError | HTTPException) -> ApiError:
    """The router's own refusals in our words."""
    if isinstance(error, ApiError):
        return error
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        return ApiError(405, "this address does not take this method", code="method_not_allowed", hint=f"use {allowed}")
    return ApiError(error.status_code, "there is nothing at this address", code="not_found")


def _line(scope: Scope, status: int, note: Note, seconds: float) -> str:
    tokens = f"{note.num_prompt}+{note.num_tokens}" if note.num_prompt is not None else "-"
    where = f"{printable(scope['method'])} {printable(scope['path'])}"
    whose = f"lineage={printable(note.lineage) or '-'} key={note.key or '-'}"
    return f"{where} {status} tokens={tokens} seconds={seconds:.3f} {whose}"


class HostGuard:
    """On a loopback address only loopback names are answered: a web site that rebinds its name to us gets nothing."""

    def __init__(self, app: ASGIApp, *, loopback: bool) -> None:
        self._app = app
        self._loopback = loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._loopback:
            host = (header(scope, b"host") or b"").decode("latin-1")
            name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
            if not is_loopback(name):
                hint = "this server is bound to this machine only; use http://127.0.0.1"
                raise ApiError(403, "the Host header names another machine", code="wrong_host", hint=hint)
        await self._app(scope, receive, send)


class KeyGuard:
    """Every address but the open ones needs `Authorization: Bearer KEY`; checked before the body is read.

    The key of the environment opens everything; one of the key file what its scopes and limits let it, and it is
    charged with the tokens of each request.
    """

    def __init__(self, app: ASGIApp, key_sha256: str | None, keys: Keyring | None, open_paths: frozenset[str]) -> None:
        self._app = app
        self._key_sha256 = key_sha256
        self._keys = keys
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        guarded = self._key_sha256 is not None or self._keys is not None
        if scope["type"] != "http" or not guarded or scope["path"] in self._open_paths:
            return await self._app(scope, receive, send)
        note: Note = scope[NOTE]
        given = _bearer(header(scope, b"authorization") or b"")
        if self._keys is None or self._is_the_environments(given):
            self._check(given)
            note.key = ENVIRONMENT
            return await self._app(scope, receive, send)
        key = self._keys.key_of(given)
        note.key = key.name
        self._keys.admit(key, scope["path"])
        try:
            await self._app(scope, receive, send)
        finally:
            self._keys.charge(key, (note.num_prompt or 0) + note.num_tokens)

    def _is_the_environments(self, given: bytes) -> bool:
        return self._key_sha256 is not None and hmac.compare_digest(hash_of(given), self._key_sha256)

    def _check(self, given: bytes) -> None:
        if not self._is_the_environments(given):
            hint = "send the header Authorization: Bearer <key>"
            wrong = "the API key is wrong" if given else "an API key is needed"
            raise ApiError(401, wrong, code="invalid_api_key", hint=hint)


def _bearer(authorization: bytes) -> bytes:
    """The key in a header; nothing where there is none, or the scheme is another."""
    scheme, _, key = authorization.partition(b" ")
    return key.strip() if scheme.lower() == b"bearer" else b""


class DoorGuard:
    """While the server is leaving, everything new but the sign of life is refused."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._service.draining and scope["path"] != "/health":
            raise ApiError(503, "the server is shutting down", code="shutting_down", retry_after_seconds=5)
        await self._app(scope, receive, send)
