"""The engine's own process: `python -m setsail.engine.worker NAME MODEL …`, JSON lines in and out (see `wire`).

It lives exactly as long as its parent: it ends when its input closes, and on Linux the kernel kills it when the parent
dies. Nothing but our lines reaches the pipe: what C++ libraries print goes to the error stream.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import queue
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, BinaryIO

from setsail.base.errors import SetsailError, UserError
from setsail.base.recipe_data import Server
from setsail.engine import wire
from setsail.engine.contract import Engine, Event, Finished, Special, TextEngine
from setsail.engine.registry import open_engine

POLL_SECONDS = 0.01
TOGETHER_SECONDS = 0.03  # tokens of so long leave together: waking who reads costs more than a token's message
_CHUNK_BYTES = 1 << 20
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str] | None = None) -> int:
    """Load the engine, say so, and serve until the input closes."""
    parser = argparse.ArgumentParser(prog="setsail.engine.worker")
    parser.add_argument("name")
    parser.add_argument("model", type=Path)
    parser.add_argument("--context", type=int, required=True)
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--grammars", action="store_true")
    parser.add_argument("--cache", default="auto")
    parser.add_argument("--adapter", type=Path, action="append", default=[], dest="adapters")
    parser.add_argument("--server", type=Server.model_validate_json)
    parser.add_argument("--parent", type=int, required=True)
    options = parser.parse_args(arguments)
    _die_with(options.parent)
    pipe = _keep_output_to_ourselves()
    # Reading starts before the load, so that a parent which dies meanwhile is noticed.
    inbox: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_read_input, args=(inbox,), daemon=True).start()
    try:
        engine = open_engine(
            options.name,
            options.model,
            context=options.context,
            slots=options.slots,
            threads=options.threads,
            grammars=options.grammars,
            special=Special(options.cache, tuple(options.adapters), options.server),
        )
    except Exception as error:  # the process's edge: whatever went wrong is told to the parent
        _send(pipe, [{"failed": _describe(error)}])
        # Not by returning: a half-built library or the reading thread may hold up an orderly end for ever.
        os._exit(1)
    ready = {"name": engine.name, "context": engine.context, "grammars": engine.takes_grammars}
    ready["note"] = getattr(engine, "note", "")
    _send(pipe, [{"ready": ready}])
    Worker(engine, inbox, pipe).serve()
    return 0


class Worker:
    """Moves messages into the engine and events out of it; one thread.

    Whoever waits is told at once: of the first token of an answer and of its end. Between them tokens leave together.
    """

    def __init__(self, engine: Engine, inbox: queue.SimpleQueue[dict[str, Any]], pipe: BinaryIO) -> None:
        self._engine = engine
        self._inbox = inbox
        self._pipe = pipe
        self._in_flight: set[int] = set()
        self._begun: set[int] = set()  # those in flight of which a token has left
        self._held: list[Event] = []
        self._left_at = 0.0

    def serve(self) -> None:
        """Runs for ever; the process ends when its input closes or the engine raises."""
        while True:
            self._take_messages()
            self._report(self._engine.poll(POLL_SECONDS))

    def _take_messages(self) -> None:
        wait = not self._in_flight
        while True:
            try:
                message = self._inbox.get(block=wait)
            except queue.Empty:
                return
            self._take(message)
            wait = False

    def _take(self, message: dict[str, Any]) -> None:
        request_id = message["id"]
        match message["op"]:
            case "submit":
                self._submit(request_id, message)
            case "cancel":
                self._engine.cancel(request_id)
            case "tokenize" | "apply_template":
                self._answer(request_id, message)

    def _submit(self, request_id: int, message: dict[str, Any]) -> None:
        self._in_flight.add(request_id)
        try:
            self._engine.submit(request_id, wire.read_request(message))
        except UserError as error:
            self._report([(request_id, Finished("error", error.message))])

    def _answer(self, request_id: int, message: dict[str, Any]) -> None:
        if not isinstance(self._engine, TextEngine):
            return _send(self._pipe, [{"id": request_id, "refused": f"the {self._engine.name} engine reads ids only"}])
        if message["op"] == "tokenize":
            reply: object = self._engine.tokenize(message["text"])
        else:
            reply = self._engine.apply_template(message["messages"])
        _send(self._pipe, [{"id": request_id, "reply": reply}])

    def _report(self, events: list[Event]) -> None:
        ended = {request_id for request_id, what in events if isinstance(what, Finished)}
        new = {request_id for request_id, _ in events} - self._begun
        self._in_flight -= ended
        self._begun = (self._begun | new) - ended
        self._held += events
        now = time.monotonic()
        if self._held and (ended or new or now - self._left_at >= TOGETHER_SECONDS):
            _send(self._pipe, [wire.event_message(event) for event in self._held])
            self._held, self._left_at = [], now


def _send(pipe: BinaryIO, messages: list[dict[str, Any]]) -> None:
    pipe.write(b"".join(map(wire.encode, messages)))
    pipe.flush()


def _describe(error: Exception) -> dict[str, str | None]:
    if isinstance(error, SetsailError):
        kind, message, place, hint = type(error).__name__, error.message, error.place, error.hint
    else:
        traceback.print_exception(error)
        kind, message, place, hint = "SetsailError", f"{type(error).__name__}: {error}", None, None
    return {"kind": kind, "message": message, "place": place, "hint": hint}


def _read_input(inbox: queue.SimpleQueue[dict[str, Any]]) -> None:
    # Not through sys.stdin: a library that forks would inherit its lock, taken by this thread for ever.
    rest = b""
    while chunk := os.read(0, _CHUNK_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            inbox.put(wire.decode(line))
    # The parent closed the pipe or died. An engine may be deep in a step, and has nothing worth saving.
    os._exit(0)


def _keep_output_to_ourselves() -> BinaryIO:
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return pipe


def _die_with(parent: int) -> None:
    # A Ctrl-C or a stop signal to the group is the parent's to answer: it drains first, then closes our input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
