"""What `GET /metrics` tells in Prometheus' format: requests, waiting, tokens, times; never a text.

The invariant: labels are addresses of the API, names of served models and statuses: no request makes new series.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Receive, Scope, Send

from setsail.serve.feedback.log import AnswerLog
from setsail.serve.note import Note
from setsail.serve.service import Live
from setsail.serve.wire import send_body

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
MODELS = "/v1/models/"
OTHER = "other"  # every address that is none of ours


class Figures:
    """The figures of one running server; used from one event loop."""

    def __init__(self, models: Mapping[str, Live], paths: Collection[str], answers: AnswerLog | None = None) -> None:
        self._paths = frozenset(paths)
        self._registry = CollectorRegistry()
        by_path = {"labelnames": ("path",), "registry": self._registry}
        by_model = {"labelnames": ("model",), "registry": self._registry}
        told = "Requests answered, by address and status; 499 is a client that left."
        labels = ("path", "status")
        self._requests = Counter("setsail_requests", told, labelnames=labels, registry=self._registry)
        self._seconds = Histogram(
            "setsail_request_seconds", "Time to the end of an answer.", buckets=_SECONDS, **by_path
        )
        told = "Time to the first token of an answer, waiting included."
        self._first = Histogram("setsail_first_token_seconds", told, buckets=_SECONDS, **by_model)
        self._prompt = Counter("setsail_prompt_tokens", "Tokens read.", **by_model)
        self._written = Counter("setsail_written_tokens", "Tokens written.", **by_model)
        told = "Tokens of prompts that the engine had read before and kept, where it says so (llama.cpp)."
        self._cached = Counter("setsail_cached_prompt_tokens", told, **by_model)
        self._registry.register(_Now(models))
        if answers is not None:
            self._registry.register(_Kept(answers))

    def count(self, path: str, status: int, note: Note, seconds: float) -> None:
        """Counts a request that has ended."""
        known = self._known(path)
        self._requests.labels(known, str(status)).inc()
        self._seconds.labels(known).observe(seconds)
        if note.model:
            self._prompt.labels(note.model).inc(note.num_prompt or 0)
            self._written.labels(note.model).inc(note.num_tokens)
            if note.num_cached is not None:
                self._cached.labels(note.model).inc(note.num_cached)
            if note.first_token_seconds is not None:
                self._first.labels(note.model).observe(note.first_token_seconds)

    def _known(self, path: str) -> str:
        """The address as the API has it: names of models make no series of their own."""
        if path.startswith(MODELS) and path != MODELS:
            return f"{MODELS}{{name}}"
        return path if path in self._paths else OTHER

    def text(self) -> bytes:
        """All of them as Prometheus reads them."""
        return generate_latest(self._registry)


class _Now(Collector):
    """What is so at the moment of asking: requests that run and wait, and whether each model answers."""

    def __init__(self, models: Mapping[str, Live]) -> None:
        self._models = models

    def collect(self) -> Iterator[Metric]:
        gauges: tuple[tuple[str, str, Any], ...] = (
            ("setsail_requests_running", "Requests that hold a slot.", lambda model: model.gate.num_running),
            ("setsail_requests_waiting", "Requests in the queue.", lambda model: model.gate.num_waiting),
            ("setsail_model_ready", "1 where the model answers.", lambda model: int(model.state == "ready")),
        )
        for name, told, value in gauges:
            family = GaugeMetricFamily(name, told, labels=("model",))
            for model in self._models.values():
                family.add_metric((model.served.name,), value(model))
            yield family


class _Kept(Collector):
    """What became of answers and ratings that were to be kept."""

    def __init__(self, answers: AnswerLog) -> None:
        self._answers = answers

    def collect(self) -> Iterator[Metric]:
        told = "Answers and ratings for the log: written, lost, or left out for the personal data in them."
        family = CounterMetricFamily("setsail_answers", told, labels=("outcome",))
        log = self._answers
        for outcome, number in (("kept", log.num_kept), ("lost", log.num_lost), ("left_out", log.num_left_out)):
            family.add_metric((outcome,), number)
        yield family


def tell_figures(figures: Figures) -> ASGIApp:
    """`GET /metrics`."""

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        await send_body(send, figures.text(), kind=CONTENT_TYPE_LATEST)

    return route
