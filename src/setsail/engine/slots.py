"""Who is being worked on and who waits: the part that every engine shares.

No tensors and no model here. The invariant: at most `num_slots` requests are under way, and the others start in the
order in which they came.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from setsail.engine.contract import Event, Finished, GenerationRequest, Reason

Work = TypeVar("Work")


@dataclass
class Slots(Generic[Work]):
    """Requests under way and those behind them; `start` makes a request's work when its turn comes."""

    num_slots: int
    start: Callable[[int, GenerationRequest], Work]
    running: dict[int, Work] = field(default_factory=dict)
    waiting: dict[int, GenerationRequest] = field(default_factory=dict)
    _ended: list[Event] = field(default_factory=list)

    def add(self, request_id: int, request: GenerationRequest) -> None:
        """Queue a request."""
        self.waiting[request_id] = request

    def fill(self) -> None:
        """Start those for whom there is room now."""
        while self.waiting and len(self.running) < self.num_slots:
            request_id = next(iter(self.waiting))
            self.running[request_id] = self.start(request_id, self.waiting.pop(request_id))

    def drop(self, request_id: int) -> Work | None:
        """End a request as cancelled; the work to be undone when it was under way."""
        work = self.running.pop(request_id, None)
        if work is not None or self.waiting.pop(request_id, None) is not None:
            self._ended.append((request_id, Finished("cancelled")))
        return work

    def end(self, request_id: int, reason: Reason, message: str = "") -> Event:
        """Free the slot of a request; the event that says why."""
        del self.running[request_id]
        return request_id, Finished(reason, message)

    def drain(self, said: SimpleQueue[Event], timeout_seconds: float) -> list[Event]:
        """A poll of an engine whose requests run by themselves and put what they say into a queue.

        Returns: cancelled ends at once, else what is there within the timeout; of cancelled requests no more.
        """
        events = self.take_cancelled()
        self.fill()
        wait = not events
        while True:
            try:
                request_id, what = said.get(wait, timeout_seconds)
            except Empty:
                return events
            wait = False
            if request_id not in self.running:
                continue  # what a cancelled one still said
            events.append((request_id, what))
            if isinstance(what, Finished):
                self.end(request_id, what.reason)
                self.fill()

    def take_cancelled(self) -> list[Event]:
        """The ends of those that were cancelled since the last call."""
        events, self._ended = self._ended, []
        return events
