"""Many requests through one engine process, in order: what evaluation and the check use."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue

from setsail.engine.contract import Finished, GenerationRequest, Reason, Token
from setsail.engine.process import EngineProcess, Submission


@dataclass(frozen=True)
class Completion:
    """The answer to one request; `logprobs` and `top_logprobs` are as long as `token_ids` when they were asked for."""

    token_ids: tuple[int, ...]
    reason: Reason
    logprobs: tuple[float, ...] = ()
    top_logprobs: tuple[tuple[tuple[int, float], ...], ...] = ()
    seconds: float = 0.0
    message: str = ""


@dataclass
class _Answer:
    started: float
    submission: Submission | None = None
    tokens: list[Token] = field(default_factory=list)

    def completion(self, end: Finished) -> Completion:
        return Completion(
            token_ids=tuple(token.token_id for token in self.tokens),
            reason=end.reason,
            logprobs=tuple(token.logprob for token in self.tokens if token.logprob is not None),
            top_logprobs=tuple(token.top_logprobs for token in self.tokens if token.top_logprobs),
            seconds=time.monotonic() - self.started,
            message=end.message,
        )


def generate_all(
    process: EngineProcess,
    requests: Sequence[GenerationRequest],
    *,
    num_in_flight: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Completion]:
    """One completion for each request, in their order, with at most `num_in_flight` (default: the slots) at once.

    `on_progress(done, total)` is called on this thread after each completion. A request that fails is a completion with
    reason "error"; leaving early, by Ctrl-C too, cancels what is in flight.
    Raises: UserError when a prompt does not fit into the context.
    """
    events: SimpleQueue[tuple[int, Token | Finished]] = SimpleQueue()
    in_flight: dict[int, _Answer] = {}
    completions: dict[int, Completion] = {}
    limit = num_in_flight or process.slots
    waiting = iter(range(len(requests)))
    try:
        while len(completions) < len(requests):
            while len(in_flight) < limit and (index := next(waiting, None)) is not None:
                answer = in_flight[index] = _Answer(time.monotonic())
                answer.submission = process.submit(requests[index], _into(events, index))
            index, event = events.get()
            if isinstance(event, Token):
                in_flight[index].tokens.append(event)
                continue
            completions[index] = in_flight.pop(index).completion(event)
            if on_progress:
                on_progress(len(completions), len(requests))
    finally:
        for answer in in_flight.values():
            if answer.submission:
                answer.submission.cancel()
    return [completions[index] for index in range(len(requests))]


def _into(events: SimpleQueue[tuple[int, Token | Finished]], index: int) -> Callable[[Token | Finished], None]:
    return lambda event: events.put((index, event))
