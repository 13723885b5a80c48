"""Running the server: taking the port, leaving gracefully, exit.

The invariant: on SIGTERM or Ctrl-C what runs is finished (or told why not) before the process goes, and no engine
outlives it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping
from types import FrameType

import uvicorn

from setsail.base.errors import SystemRefusal, UserError
from setsail.base.recipe import Serve
from setsail.serve.app import build_app
from setsail.serve.feedback.log import AnswerLog
from setsail.serve.guard import is_loopback, log_to_stderr
from setsail.serve.service import Served, Service

_GRACE_SECONDS = 2.0
_BACKLOG = 512


def serve(
    models: Mapping[str, Served],
    settings: Serve,
    *,
    api_key_sha256: str | None = None,
    log: Callable[[str], None] = log_to_stderr,
    on_listening: Callable[[str], None] | None = None,
    answers: AnswerLog | None = None,
) -> None:
    """Serves until SIGTERM or Ctrl-C, then returns; `on_listening` gets the address once connections are accepted.

    Engines of models without `start` must be running; all are closed at the end, and so is the log of answers.
    Raises: UserError for an open address without a key, SystemRefusal when the port cannot be had.
    """
    try:
        refuse_open_door(settings, api_key_sha256)
        listener = take_port(settings.host, settings.port)
        with listener:
            app = build_app(models, settings, api_key_sha256=api_key_sha256, log=log, answers=answers)
            # log_config None and this level: uvicorn must not write a second log, with what we leave out of ours.
            config = uvicorn.Config(
                app, log_config=None, log_level="critical", access_log=False, server_header=False, lifespan="off"
            )
            config.timeout_graceful_shutdown = 1
            asyncio.run(_serve(uvicorn.Server(config), listener, app.state.service, on_listening))
    finally:
        _close(models)
        if answers is not None:
            answers.close()


def _close(models: Mapping[str, Served]) -> None:
    for model in models.values():
        model.engine.close()


def refuse_open_door(settings: Serve, api_key_sha256: str | None) -> None:
    """Raises `UserError` when other machines could use the server without a key."""
    if api_key_sha256 is None and settings.keys is None and not is_loopback(settings.host):
        raise UserError(
            f"serving on {settings.host} lets other machines in, and there is no API key",
            place="serve.host",
            hint="make one (setsail keys add NAME, then --keys keys.json), or use --host 127.0.0.1",
        )


def take_port(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `SystemRefusal` when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is said, since only then asyncio sets TCP_NODELAY: else an answer's body waits for the client's
    # acknowledgement of its headers, which takes 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host.strip("[]"), port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise SystemRefusal(
            f"cannot listen on {host}:{port}: {error.strerror or error}",
            place="serve.port",
            hint=f"choose another port: --port {port + 1 if 0 < port < 65535 else 8000}",
        ) from None
    return listener


async def _serve(
    server: uvicorn.Server,
    listener: socket.socket,
    service: Service,
    on_listening: Callable[[str], None] | None,
) -> None:
    loop = asyncio.get_running_loop()
    asked_to_leave = asyncio.Event()

    def on_signal(sig: int, frame: FrameType | None) -> None:
        # The second one means: now.
        if asked_to_leave.is_set():
            loop.call_soon_threadsafe(service.time_is_up.set)
        loop.call_soon_threadsafe(asked_to_leave.set)

    # uvicorn's own answer to a signal closes the door at once; new callers must hear 503 and old ones finish first.
    server.handle_exit = on_signal
    running = asyncio.create_task(server.serve(sockets=[listener]))
    leaving = asyncio.create_task(_leave_when_asked(asked_to_leave, server, service))
    try:
        while not server.started and not running.done():
            await asyncio.sleep(0.01)
        if on_listening is not None and not running.done():
            on_listening(_address(listener))
        await running
    finally:
        leaving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await leaving
        if service.keys is not None:
            service.keys.save()
        # Here and not only behind the loop: threads that wait for an engine would keep the loop from ending.
        await asyncio.to_thread(_close, {name: model.served for name, model in service.models.items()})


async def _leave_when_asked(asked: asyncio.Event, server: uvicorn.Server, service: Service) -> None:
    await asked.wait()
    await service.drain(_GRACE_SECONDS)
    server.should_exit = True


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
