"""The application: which address leads where, behind which guards.

Everything is denied without the key but what `OPEN` lists and the page's files. Order of the guards, from outside: log
and errors, Host, key, closed door; so an unknown caller learns nothing, not even which addresses exist.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp

from setsail.base.recipe import Serve
from setsail.serve import routes
from setsail.serve.guard import DoorGuard, Edge, HostGuard, KeyGuard, is_loopback, log_to_stderr
from setsail.serve.models import ServedModel
from setsail.serve.page_files import page_files, send_page_file
from setsail.serve.schema import ChatBody, CompletionBody
from setsail.serve.service import Service

OPEN = frozenset({"/health"})


def build_app(
    models: Mapping[str, ServedModel],
    settings: Serve,
    *,
    api_key_sha256: str | None,
    log: Callable[[str], None] = log_to_stderr,
) -> Starlette:
    """The HTTP face of `models`, the first one the chat page's; `app.state.service` is its running state."""
    service = Service(models, settings)
    page = page_files()
    table: list[tuple[str, str, ASGIApp]] = [
        ("POST", "/v1/chat/completions", routes.generate(service, ChatBody)),
        ("POST", "/v1/completions", routes.generate(service, CompletionBody)),
        ("GET", "/v1/models", routes.list_models(service)),
        ("GET", "/v1/models/{name:path}", routes.show_model(service)),
        ("GET", "/health", routes.health()),
        ("GET", "/ready", routes.ready(service)),
        *(("GET", address, send_page_file(file)) for address, file in page.items()),
    ]
    app = Starlette(
        routes=[_route(method, path, target) for method, path, target in table],
        middleware=[
            Middleware(Edge, service=service, log=log),
            Middleware(HostGuard, loopback=is_loopback(settings.host)),
            Middleware(KeyGuard, key_sha256=api_key_sha256, open_paths=OPEN | frozenset(page)),
            Middleware(DoorGuard, service=service),
        ],
        # Errors pass through to `Edge`, which has one shape for all of them.
        exception_handlers={404: _pass_on, 405: _pass_on},
    )
    app.router.redirect_slashes = False
    app.state.service = service
    return app


async def _pass_on(request: Request, error: Exception) -> Any:
    raise error


def _route(method: str, path: str, target: ASGIApp) -> Route:
    return Route(path, _Endpoint(target), methods=[method])


class _Endpoint:
    """An ASGI application that Starlette does not mistake for a function of a request."""

    def __init__(self, target: ASGIApp) -> None:
        self._target = target

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._target(scope, receive, send)
