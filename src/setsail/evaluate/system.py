"""What the evaluation asks of anything that answers: two callables, so that this room runs no model.

A base model, a tuned one behind an engine and the nearest neighbour differ only in what stands behind them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from setsail.data.row import Message, Row


@dataclass(frozen=True)
class Answer:
    """One answer: its text, whether the model itself ended it, and what it took.

    `stopped` is True for a stop token, False for the limit; `stopped` and `num_tokens` are None for what is no model.
    """

    text: str
    stopped: bool | None = None
    num_tokens: int | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class System:
    """Anything that can be scored: `answers` to prompts, and `nats` of whole rows where it has probabilities.

    `nats` gives per row the sum of −ln p over all supervised tokens, stop tokens included; `masked_nats` over what is
    hidden of each row, for systems that restore it. `margins` gives, of rows with two answers, by how many nats the
    chosen one is preferred: the sum of ln p over its tokens minus that over the rejected one's, and the same of their
    means per token. Each may be None; all give one value per input, in its order.
    """

    answers: Callable[[Sequence[tuple[Message, ...]]], Sequence[Answer]] | None = None
    nats: Callable[[Sequence[Row]], Sequence[float]] | None = None
    masked_nats: Callable[[Sequence[Row]], Sequence[float]] | None = None
    margins: Callable[[Sequence[Row]], Sequence[tuple[float, float]]] | None = None
