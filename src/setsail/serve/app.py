"""The application: which address leads where, behind which guards.

Everything is denied without the key but what `OPEN` lists and the page's files. Order of the guards, from outside: log
and errors, Host, key, closed door; so an unknown caller learns nothing, not even which addresses exist.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from setsail.base.recipe import Serve
from setsail.serve import predict_routes, routes, token_routes
from setsail.serve.audit import Audit
from setsail.serve.feedback.log import AnswerLog
from setsail.serve.feedback.routes import PATH as FEEDBACK
from setsail.serve.feedback.routes import feedback
from setsail.serve.figures import Figures, tell_figures
from setsail.serve.guard import DoorGuard, Edge, HostGuard, KeyGuard, is_loopback, log_to_stderr
from setsail.serve.keyring import Keyring
from setsail.serve.page_files import page_files, send_page_file
from setsail.serve.predictors import LivePredictor
from setsail.serve.schema import ChatBody, CompletionBody
from setsail.serve.service import Served, Service, unsupported

OPEN = frozenset({"/health"})
# Where models answer; one that cannot says which of these it can.
ANSWERING = ("/predict", "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/rerank")


def build_app(
    models: Mapping[str, Served],
    settings: Serve,
    *,
    api_key_sha256: str | None,
    log: Callable[[str], None] = log_to_stderr,
    answers: AnswerLog | None = None,
) -> Starlette:
    """The HTTP face of `models`; `app.state.service` is its running state. `answers` stays the caller's to close.

    The chat page is that of the first one that converses; where none does, `GET /` says how they are asked.
    """
    service = Service(models, settings, answers)
    service.keys = Keyring(Path(settings.keys), log) if settings.keys else None
    audit = Audit(Path(settings.audit)) if settings.audit else None
    predictors = [model for model in service.models.values() if isinstance(model, LivePredictor)]
    page = page_files() if len(predictors) < len(service.models) else {}
    table: list[tuple[str, str, ASGIApp]] = [
        *(("POST", path, target) for path, target in _answering(service).items()),
        ("POST", "/tokenize", token_routes.tokenize(service)),
        ("POST", "/detokenize", token_routes.detokenize(service)),
        ("POST", FEEDBACK, feedback(answers)),
        *([] if page else [("GET", "/", predict_routes.about(predictors))]),
        ("GET", "/v1/models", routes.list_models(service)),
        ("GET", "/v1/models/{name:path}", routes.show_model(service)),
        ("GET", "/health", routes.health()),
        ("GET", "/ready", routes.ready(service)),
        *(("GET", address, send_page_file(file)) for address, file in page.items()),
    ]
    figures = Figures(service.models, {"/metrics", *(path for _, path, _ in table)}, answers)
    table.append(("GET", "/metrics", tell_figures(figures)))
    app = Starlette(
        routes=[_route(method, path, target) for method, path, target in table],
        middleware=[
            Middleware(Edge, service=service, figures=figures, log=log, audit=audit),
            Middleware(HostGuard, loopback=is_loopback(settings.host)),
            Middleware(KeyGuard, key_sha256=api_key_sha256, keys=service.keys, open_paths=OPEN | frozenset(page)),
            Middleware(DoorGuard, service=service),
        ],
        # Errors pass through to `Edge`, which has one shape for all of them.
        exception_handlers={404: _pass_on, 405: _pass_on},
    )
    app.router.redirect_slashes = False
    app.state.service = service
    return app


def _answering(service: Service) -> dict[str, ASGIApp]:
    """What stands at each of `ANSWERING`; where no model can answer, what says so before a body is read."""
    able: dict[str, ASGIApp] = {
        "/predict": predict_routes.predict(service),
        "/v1/chat/completions": routes.generate(service, "/v1/chat/completions", ChatBody),
        "/v1/completions": routes.generate(service, "/v1/completions", CompletionBody),
        "/v1/embeddings": predict_routes.embeddings(service),
        "/v1/rerank": predict_routes.rerank(service),
    }
    return {path: able[path] if any(service.answering(path)) else _refuse(path, service) for path in ANSWERING}


def _refuse(path: str, service: Service) -> ASGIApp:
    """An address of the API at which models of this kind have nothing to say."""

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        raise unsupported(path, list(service.models.values()))

    return route


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
