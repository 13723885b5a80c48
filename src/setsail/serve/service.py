"""The state of one running server: its models, how many requests it holds, and whether it is leaving.

The invariant: once `drain` was called nothing new is let in, and `num_active` only falls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence

from setsail.base.errors import did_you_mean
from setsail.base.recipe import Serve
from setsail.serve.errors import ApiError, shown
from setsail.serve.feedback.keeping import Keeping
from setsail.serve.feedback.log import AnswerLog
from setsail.serve.keyring import Keyring
from setsail.serve.models import LiveModel, ServedModel
from setsail.serve.predictors import LivePredictor, ServedPredictor

Served = ServedModel | ServedPredictor
Live = LiveModel | LivePredictor


class Service:
    """What the routes share; used from one event loop."""

    def __init__(self, models: Mapping[str, Served], settings: Serve, answers: AnswerLog | None = None) -> None:
        self.settings = settings
        self.keeping = Keeping(answers)
        self.models = {name: _alive(model, settings) for name, model in models.items()}
        self.keys: Keyring | None = None
        self.num_active = 0
        self.draining = False
        self.time_is_up = asyncio.Event()

    def model(self, name: str) -> Live:
        """The model called `name`. Raises `ApiError` 404 that lists the known ones."""
        if name not in self.models:
            message = f"there is no model {shown(name)}"
            raise ApiError(
                404, message, code="model_not_found", param="model", hint=did_you_mean(name[:200], self.models)
            )
        return self.models[name]

    def model_at(self, path: str, name: str | None) -> Live:
        """The model called `name`, or without a name the first one, that answers at an address.

        Raises: `ApiError` 404 when there is none of that name, or it does not answer there.
        """
        model = self.model(name) if name is not None else next(self.answering(path))
        if path not in model.served.paths:
            raise unsupported(path, [model])
        return model

    def answering(self, path: str) -> Iterator[Live]:
        """The models that answer at an address."""
        return (model for model in self.models.values() if path in model.served.paths)

    async def is_ready(self) -> bool:
        """Whether every model that has been started answers."""
        started = [model for model in self.models.values() if not model.asleep]
        return bool(started) and all(await asyncio.gather(*(model.is_alive() for model in started)))

    async def drain(self, grace_seconds: float) -> None:
        """Lets nothing new in and waits for what runs; past `drain_seconds` the rest is ended with an error event."""
        self.draining = True
        if not await self._empty_within(self.settings.drain_seconds):
            self.time_is_up.set()
            await self._empty_within(grace_seconds)

    async def _empty_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                while self.num_active:
                    await asyncio.sleep(0.02)
        except TimeoutError:
            return False
        return True


def unsupported(path: str, models: Sequence[Live]) -> ApiError:
    """What is told at an address where these models have nothing to say."""
    what = ", ".join(f"{model.served.name} is {model.served.does}" for model in models)
    able = dict.fromkeys(path for model in models for path in model.served.paths)
    hint = f"use POST {' or '.join(able)}"
    return ApiError(404, f"{path} is not answered here: {what}", code="unsupported_route", param="model", hint=hint)


def _alive(model: Served, settings: Serve) -> Live:
    if isinstance(model, ServedPredictor):
        return LivePredictor(model, settings)
    return LiveModel(model, settings)
