"""An engine in a watched process of its own: a crash or a wedge there never takes this process down.

Requests go in from any thread and events come out through callbacks. The invariants: each request gets exactly one
`Finished`; when the process dies all of them get theirs at once; it is started again with growing pauses until it has
died too often without an answer in between. No torch here, and no engine library.
"""

from __future__ import annotations

import itertools
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from setsail.base import errors
from setsail.base.errors import SetsailError, SystemRefusal, UserError
from setsail.engine import wire
from setsail.engine.child import Child, worker_command
from setsail.engine.contract import PLAIN, Finished, GenerationRequest, Special, Token, fit_to_context

State = Literal["starting", "ready", "restarting", "failed", "closed"]
_TEXT_OP_SECONDS = 60.0


@dataclass(frozen=True)
class Watch:
    """How patient the parent is: load, silence while requests are in flight, pauses and number of restarts in a row."""

    load_seconds: float = 300.0
    stall_seconds: float = 120.0
    backoff_seconds: float = 0.2
    backoff_limit_seconds: float = 10.0
    num_restarts: int = 5


class Submission:
    """A request on its way; `cancel` may be called from any thread, often, and late."""

    def __init__(self, cancel: Callable[[], None]) -> None:
        self.cancel = cancel


class EngineProcess:
    """The engine `name` with `model`, in a child process that is started, watched and restarted here.

    >>> from setsail.engine.contract import GenerationRequest                    # doctest: +SKIP
    >>> with EngineProcess("auto", Path("model.gguf"), 2048, 8) as engine:       # doctest: +SKIP
    ...     list(engine.generate(GenerationRequest((1, 2, 3), max_tokens=2)))
    [Token(token_id=9, ...), Token(token_id=4, ...), Finished(reason='length', message='')]
    """

    def __init__(
        self,
        name: str,
        model: Path,
        context: int,
        slots: int,
        *,
        threads: int | None = None,
        grammars: bool = False,
        special: Special = PLAIN,
        watch: Watch | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.name = name
        self.model = model
        self.context = context
        self.slots = slots
        self.takes_grammars = False  # known when it is ready
        self.note = ""  # what a person should know of an engine that is ready
        self.failure: SetsailError | None = None
        self._threads = threads
        self._grammars = grammars
        self._special = special
        self._watch = watch or Watch()
        self._say = say or _say_to_stderr
        self._ids = itertools.count(1)
        self._lock = threading.Condition()
        self._state: State = "starting"
        self._child: Child | None = None
        self._waiting: dict[int, Callable[[dict[str, Any]], None]] = {}
        self._num_events = 0
        self._last_event_at = time.monotonic()
        self._num_deaths = 0
        self._closing = threading.Event()
        self._supervisor: threading.Thread | None = None

    @property
    def state(self) -> State:
        return self._state

    @property
    def pid(self) -> int | None:
        """The child's process id; None when there is none."""
        child = self._child
        return child.pid if child else None

    @property
    def num_in_flight(self) -> int:
        return len(self._waiting)

    def start(self) -> EngineProcess:
        """Start the child and wait until the model is loaded.

        Raises: ModelError, UserError or SystemRefusal when it cannot be loaded; the process is then closed.
        """
        assert self._supervisor is None, "an engine process is started once"
        self._supervisor = threading.Thread(target=self._supervise, name="engine-supervisor", daemon=True)
        self._supervisor.start()
        threading.Thread(target=self._watch_for_stalls, name="engine-watch", daemon=True).start()
        with self._lock:
            self._lock.wait_for(lambda: self._state not in ("starting", "restarting"), self._watch.load_seconds)
            state, failure = self._state, self.failure
        if state == "ready":
            return self
        self.close()
        raise failure or SystemRefusal(
            f"the engine did not load within {self._watch.load_seconds:g} seconds", place=str(self.model)
        )

    def submit(self, request: GenerationRequest, on_event: Callable[[Token | Finished], None]) -> Submission:
        """Send a request; `on_event` gets each token and then one `Finished`, on the engine's reading thread.

        Never blocks. While the engine is not ready `on_event` gets Finished("error") before this returns.
        `on_event` must be quick and must not call back into this object, but for `cancel`.
        Raises: UserError when the prompt does not fit into the context.
        """
        fitting = fit_to_context(request, self.context)
        if fitting.adapter is None:
            fitting = replace(fitting, adapter=self._special.adapter)
        request_id = next(self._ids)

        def receive(message: dict[str, Any]) -> None:
            event = wire.read_event(message)
            if isinstance(event, Finished):
                self._forget(request_id)
            on_event(event)

        if not self._send(request_id, receive, wire.submit_message(request_id, fitting)):
            on_event(Finished("error", f"the engine is {self._state}"))
        return Submission(lambda: self._cancel(request_id))

    def generate(self, request: GenerationRequest) -> Iterator[Token | Finished]:
        """The tokens of one request and its end, blocking; closing the iterator early cancels the request."""
        events: queue.SimpleQueue[Token | Finished] = queue.SimpleQueue()
        submission = self.submit(request, events.put)
        try:
            while True:
                event = events.get()
                yield event
                if isinstance(event, Finished):
                    return
        finally:
            submission.cancel()

    def probe(self, deadline_seconds: float) -> bool:
        """Whether the engine generates: True when it emits anything for anyone within the deadline.

        Sends a request for one token, so an idle engine is really tried, and a full one need not be waited for.
        """
        with self._lock:
            seen = self._num_events
        if self._state != "ready":
            return False
        submission = self.submit(GenerationRequest((1,), max_tokens=1), lambda event: None)
        with self._lock:
            alive = self._lock.wait_for(lambda: self._num_events > seen or self._state != "ready", deadline_seconds)
        submission.cancel()
        return alive and self._state == "ready"

    def tokenize(self, text: str) -> list[int]:
        """The ids that the model file's own tokenizer gives `text`, as another tool that reads the file would.

        Raises: UserError when this engine reads ids only.
        """
        return self._ask({"op": "tokenize", "text": text})

    def apply_template(self, messages: list[dict[str, str]]) -> str:
        """The prompt that the model file's own chat template makes of `messages`, ready for an answer.

        Raises: UserError when this engine reads ids only.
        """
        return self._ask({"op": "apply_template", "messages": messages})

    def restart(self) -> None:
        """Kill the child; everything in flight ends with an error, and another child is started."""
        child = self._child
        if child is not None:
            child.kill()

    def close(self) -> None:
        """End the child for good; what is in flight finishes as cancelled. May be called twice."""
        self._closing.set()
        self._change("closed")
        child = self._child
        if child is not None:
            child.close()
        if self._supervisor is not None and self._supervisor is not threading.current_thread():
            self._supervisor.join()

    def __enter__(self) -> EngineProcess:
        return self if self._supervisor else self.start()

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _ask(self, message: dict[str, Any]) -> Any:
        request_id = next(self._ids)
        reply: Future[dict[str, Any]] = Future()
        if not self._send(request_id, reply.set_result, {"id": request_id, **message}):
            raise SetsailError(f"the engine is {self._state}", place=str(self.model))
        try:
            answer = reply.result(_TEXT_OP_SECONDS)
        except TimeoutError:
            raise SetsailError(f"the engine did not answer within {_TEXT_OP_SECONDS:g} seconds") from None
        finally:
            self._forget(request_id)
        if "refused" in answer:
            raise UserError(answer["refused"], hint='use the "llamacpp" engine')
        if "reply" not in answer:
            raise SetsailError(answer["message"], place=str(self.model))
        return answer["reply"]

    def _send(self, request_id: int, receive: Callable[[dict[str, Any]], None], message: dict[str, Any]) -> bool:
        with self._lock:
            if self._state != "ready" or self._child is None:
                return False
            if not self._waiting:
                self._last_event_at = time.monotonic()
            self._waiting[request_id] = receive
            self._child.send(message)
            return True

    def _cancel(self, request_id: int) -> None:
        with self._lock:
            if request_id in self._waiting and self._child is not None:
                self._child.send({"op": "cancel", "id": request_id})

    def _forget(self, request_id: int) -> Callable[[dict[str, Any]], None] | None:
        with self._lock:
            return self._waiting.pop(request_id, None)

    def _change(self, state: State) -> None:
        with self._lock:
            if self._state != "closed":
                self._state = state
            self._lock.notify_all()

    def _watch_for_stalls(self) -> None:
        while not self._closing.wait(min(1.0, self._watch.stall_seconds / 4)):
            with self._lock:
                silent_seconds = time.monotonic() - self._last_event_at
                stalled = self._state == "ready" and self._waiting and silent_seconds > self._watch.stall_seconds
                stalled = stalled or (self._state == "restarting" and silent_seconds > self._watch.load_seconds)
            if stalled:
                self._say(f"the engine has been silent for {silent_seconds:.0f} s and is killed")
                self.restart()

    # What follows runs on the supervisor's thread, which starts every child and outlives it.

    def _supervise(self) -> None:
        arguments = [self.name, str(self.model), "--context", str(self.context), "--slots", str(self.slots)]
        arguments += ["--threads", str(self._threads)] if self._threads else []
        arguments += ["--grammars"] if self._grammars else []
        arguments += ["--cache", self._special.cache]
        arguments += [word for path in self._special.adapters for word in ("--adapter", str(path))]
        arguments += ["--server", self._special.server.model_dump_json()] if self._special.server else []
        while self._state not in ("failed", "closed"):
            self._child = child = Child(worker_command([*arguments, "--parent", str(os.getpid())]))
            if self._closing.is_set():
                child.close()
            self._last_event_at = time.monotonic()
            for message in child.messages():
                self._receive(message)
            self._mourn(child.reap())

    def _receive(self, message: dict[str, Any]) -> None:
        if "ready" in message:
            ready = message["ready"]
            self.name, self.context, self.takes_grammars = ready["name"], ready["context"], ready["grammars"]
            self.note = ready["note"]
            return self._change("ready")
        if "failed" in message:
            self.failure = _read_failure(message["failed"])
            return self.restart()
        with self._lock:
            self._num_events += message.get("finished") != "error"  # a failure is no sign of life
            self._last_event_at = time.monotonic()
            if message.get("finished") in ("stop", "length"):
                self._num_deaths = 0
            receive = self._waiting.get(message["id"])
            self._lock.notify_all()
        if receive is not None:
            self._deliver(receive, message)
        return None

    def _mourn(self, how: str) -> None:
        if self._closing.is_set():
            return self._finish_all(Finished("cancelled", "the engine was closed"))
        end, _, last_words = how.partition("\n")
        if self.failure is None:
            self.failure = SetsailError(end, place=str(self.model), hint=last_words or None)
        self._num_deaths += 1
        # A model that never loaded will not load the next time either.
        give_up = self._state == "starting" or self._num_deaths > self._watch.num_restarts
        self._change("failed" if give_up else "restarting")
        self._finish_all(Finished("error", end))
        if not give_up:
            pause = min(self._watch.backoff_seconds * 2 ** (self._num_deaths - 1), self._watch.backoff_limit_seconds)
            self._say(f"{how}\nit is started again in {pause:g} s")
            self._closing.wait(pause)
        return None

    def _finish_all(self, end: Finished) -> None:
        with self._lock:
            waiting = dict(self._waiting)
        for request_id, receive in waiting.items():
            self._deliver(receive, wire.event_message((request_id, end)))

    def _deliver(self, receive: Callable[[dict[str, Any]], None], message: dict[str, Any]) -> None:
        try:
            receive(message)
        except Exception as error:  # a caller's callback must not end the reading for all the others
            self._say(f"an engine event could not be delivered: {error!r}")


def _read_failure(failed: dict[str, str | None]) -> SetsailError:
    kind = getattr(errors, str(failed["kind"]), SetsailError)
    return kind(str(failed["message"]), place=failed["place"], hint=failed["hint"])


def _say_to_stderr(text: str) -> None:
    print(text, file=sys.stderr)
