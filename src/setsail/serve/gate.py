"""Who may enter: so many requests run, so many wait, the rest are turned away at once.

Policy only: no engine, no HTTP. The invariant: `num_running <= slots` and `num_waiting <= queue`, and every ticket
that leaves, in whatever way and however often it is released, gives back exactly the one place that it held.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque

_LONGEST_RETRY_SECONDS = 60


class GateFull(Exception):
    """All slots and all places in the queue are taken."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(f"full; try again in {retry_after_seconds} s")
        self.retry_after_seconds = retry_after_seconds


class Gate:
    """Slots and a queue, first come first served; used from one event loop."""

    def __init__(self, slots: int, queue: int) -> None:
        assert slots >= 1 and queue >= 0
        self.slots = slots
        self.queue = queue
        self._num_running = 0
        self._waiting: deque[Ticket] = deque()
        self._mean_seconds = 1.0

    @property
    def num_running(self) -> int:
        return self._num_running

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    def enter(self) -> Ticket:
        """A ticket, which runs or waits. Raises `GateFull` without waiting."""
        ticket = Ticket(self)
        if self._num_running < self.slots:
            self._admit(ticket)
        elif len(self._waiting) < self.queue:
            self._waiting.append(ticket)
        else:
            raise GateFull(self._retry_after_seconds())
        return ticket

    def _admit(self, ticket: Ticket) -> None:
        self._num_running += 1
        ticket.admitted_at = time.monotonic()
        ticket.turn_came.set()

    def leave(self, ticket: Ticket) -> None:
        """Takes the ticket out and lets the next in; called by `Ticket.release`, once."""
        if ticket.admitted_at is None:
            self._waiting.remove(ticket)
            return
        self._num_running -= 1
        self._mean_seconds += 0.2 * (time.monotonic() - ticket.admitted_at - self._mean_seconds)
        if self._waiting:
            self._admit(self._waiting.popleft())

    def _retry_after_seconds(self) -> int:
        """When a place should be free: the people before you, times the recent mean, shared by the slots."""
        seconds = math.ceil((len(self._waiting) + 1) / self.slots * self._mean_seconds)
        return min(max(seconds, 1), _LONGEST_RETRY_SECONDS)


class Ticket:
    """A place at the gate: wait for `turn`, and `release` it in a `finally`."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._released = False
        self.turn_came = asyncio.Event()
        self.admitted_at: float | None = None

    async def turn(self) -> None:
        """Returns when a slot is ours."""
        await self.turn_came.wait()

    def release(self) -> None:
        """Gives the place back; calling it again does nothing."""
        if not self._released:
            self._released = True
            self._gate.leave(self)
