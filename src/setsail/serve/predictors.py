"""A predictor as it is served: its name, what it does, its thread and its gate; beside `models.py` for what writes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from setsail.base.errors import UserError
from setsail.base.recipe import Serve
from setsail.serve.batching import PredictorThread
from setsail.serve.errors import ApiError
from setsail.serve.gate import Gate, Ticket
from setsail.serve.models import enter_gate
from setsail.tasks.prediction import Answer, Predictor, Question
from setsail.tokens.tokenizer import Tokenizer


@dataclass(frozen=True)
class ServedPredictor:
    """What `build_app` is given for a predictor, whose thread has been started; `does` says what it is and does."""

    name: str
    tokenizer: Tokenizer
    engine: PredictorThread
    created: int
    lineage: str
    does: str
    description: str = ""
    settings: Serve | None = None  # its own, where several runs are served

    @property
    def predictor(self) -> Predictor:
        return self.engine.predictor

    @property
    def context(self) -> int:
        return self.predictor.context

    @property
    def embeds(self) -> bool:
        """Whether its answers are vectors."""
        return self.predictor.task == "embed"

    @property
    def example(self) -> dict[str, object]:
        """A body of `/predict`, its texts left open."""
        if self.predictor.orders:
            return {"query": "…", "texts": ["…", "…"]}
        inputs = self.predictor.inputs
        return {"inputs": ["…" if inputs == ("text",) else dict.fromkeys(inputs, "…")]}

    @property
    def paths(self) -> tuple[str, ...]:
        """The addresses at which it answers."""
        ordering = ("/v1/rerank",) if self.embeds or self.predictor.orders else ()
        return ("/predict", *(("/v1/embeddings",) if self.embeds else ()), *ordering)


class LivePredictor:
    """A served predictor with what changes while it runs; used from one event loop."""

    asleep = False

    def __init__(self, served: ServedPredictor, settings: Serve) -> None:
        self.served = served
        self.settings = served.settings or settings
        self.gate = Gate(self.settings.slots, self.settings.queue)

    @property
    def state(self) -> str:
        return self.served.engine.state

    def enter(self) -> Ticket:
        """A place at the gate. Raises `ApiError`: 503 when the predictor is down, 429 when the queue is full."""
        if self.state != "ready":
            raise ApiError(503, f"the predictor {self.served.name} is {self.state}", code="engine_down")
        return enter_gate(self.gate)

    async def is_alive(self) -> bool:
        """Whether the thread answers."""
        return self.state == "ready"

    async def answers(self, questions: Sequence[Question], param: str) -> list[Answer]:
        """The answers, in the order of the questions; leaving early cancels what is not computed yet.

        Raises: `ApiError` 400 for a question that does not fit the context; `param` is where the questions stand.
        """
        job = self.served.engine.submit(questions)
        try:
            return await asyncio.wrap_future(job.future)
        except UserError as error:
            place = param if job.failed_at is None else f"{param}[{job.failed_at}]"
            raise ApiError(400, error.message, code="context_length_exceeded", param=place, hint="shorten it") from None
