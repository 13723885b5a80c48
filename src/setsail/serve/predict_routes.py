"""What the addresses of a predictor answer: `/predict`, `/v1/embeddings` and `/v1/rerank`, on one path to the model.

The lines of `/predict` are those that `setsail predict` prints. Guards stand before them (guard.py).
"""

from __future__ import annotations

import asyncio
import base64
import struct
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from starlette.types import ASGIApp, Receive, Scope, Send

from setsail.base.errors import UserError
from setsail.serve.answers import Json
from setsail.serve.errors import ApiError
from setsail.serve.feedback.ids import LINES
from setsail.serve.feedback.keeping import Keeping, predicted
from setsail.serve.generated import write_for_inputs
from setsail.serve.models import LiveModel
from setsail.serve.note import NOTE, Note
from setsail.serve.predict_schema import EmbeddingsBody, PredictBody, RerankBody
from setsail.serve.predictors import LivePredictor
from setsail.serve.schema import read_body
from setsail.serve.service import Service
from setsail.serve.wire import encode, send_body, supervise
from setsail.serve.wire import read_body as read_bytes
from setsail.tasks.prediction import Answer, Fields, Question, example_of, in_order, lines_of, question_of, rounded

BodyT = TypeVar("BodyT", PredictBody, EmbeddingsBody, RerankBody)


@dataclass(frozen=True)
class Call(Generic[BodyT]):
    """One request at its predictor."""

    model: LivePredictor
    body: BodyT
    note: Note
    keeping: Keeping

    def questions(self, asked: Sequence[Fields], param: str) -> list[Question]:
        """What is asked, as the model reads it; `param` is the field in which it stands. Raises `ApiError` 400."""
        return [self._question(fields, f"{param}[{number}]") for number, fields in enumerate(asked)]

    def _question(self, fields: Fields, param: str) -> Question:
        predictor = self.model.served.predictor
        try:
            return question_of(predictor, fields)
        except UserError as error:
            hint = f"an input is {example_of(predictor)}"
            raise ApiError(400, error.message, code="invalid_value", param=param, hint=hint) from None

    async def answers(self, questions: Sequence[Question], param: str) -> list[Answer]:
        """The model's answers. Raises `ApiError` 400."""
        answers = await self.model.answers(questions, param)
        self.note.num_prompt = sum(answer.num_tokens for answer in answers)
        return answers

    def head(self, **more: object) -> Json:
        """What every answer begins with."""
        tokens = self.note.num_prompt
        return {**more, "model": self.model.served.name, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}


def predict(service: Service) -> ASGIApp:
    """`POST /predict`: what a predictor says, or what a model writes."""
    return _route(service, "/predict", PredictBody, _predict)


def embeddings(service: Service) -> ASGIApp:
    """`POST /v1/embeddings`."""
    return _route(service, "/v1/embeddings", EmbeddingsBody, _embeddings)


def rerank(service: Service) -> ASGIApp:
    """`POST /v1/rerank`."""
    return _route(service, "/v1/rerank", RerankBody, _rerank)


def about(models: Sequence[LivePredictor]) -> ASGIApp:
    """`GET /`, where models that converse have their chat page: what these do, and how they are asked."""
    each = [
        {"model": served.name, "does": served.does, "post_to": served.paths, "example": served.example}
        for served in (model.served for model in models)
    ]

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        await send_body(send, encode(each[0] if len(each) == 1 else {"models": each}))

    return route


def _route(service: Service, path: str, kind: type[BodyT], answer: Callable[[Call[BodyT]], Awaitable[Json]]) -> ASGIApp:
    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        body = read_body(kind, await read_bytes(scope, receive))
        model = service.model_at(path, body.model)
        note: Note = scope[NOTE]
        note.asks(model.served.name, model.served.lineage)
        if isinstance(model, LiveModel):
            assert isinstance(body, PredictBody), "a model that writes answers at no other address of these"
            return await write_for_inputs(service, model, body, note=note, receive=receive, send=send)
        ticket = model.enter()

        async def work() -> None:
            await ticket.turn()
            answered = await answer(Call(model, body, note, service.keeping))
            # Thousands of figures take a while to write; others are to be heard meanwhile.
            await send_body(send, await asyncio.to_thread(encode, answered))

        try:
            seconds = service.settings.deadline_seconds
            await supervise(work(), receive, seconds=seconds, time_is_up=service.time_is_up)
        finally:
            ticket.release()

    return route


async def _predict(call: Call[PredictBody]) -> Json:
    body, predictor = call.body, call.model.served.predictor
    if predictor.orders:
        param, asked = "texts", _for_query(body)
    else:
        param, asked = "inputs", _inputs(body, predictor.task)
    answers = await call.answers(call.questions(asked, param), param)
    answer_id = call.keeping.new_id(LINES, call.note, num_lines=len(answers))
    beside = {"query": body.query} if predictor.orders else {}
    said = predicted(in_order(predictor, answers), predictor.inputs, beside)
    call.keeping.keep_lines(answer_id, call.note, call.model.served, predictor.task, said)
    lines = list(lines_of(predictor, answers, every=body.probabilities))
    return {**call.head(id=answer_id), "predictions": lines}


def _for_query(body: PredictBody) -> list[Fields]:
    if body.query is None or body.texts is None or body.inputs is not None:
        wrong = "query" if body.query is None else "texts" if body.texts is None else "inputs"
        told = "this model orders texts for a query"
        hint = 'send {"query": "what is asked", "texts": ["…", "…"]}'
        raise ApiError(400, told, code="invalid_value", param=wrong, hint=hint)
    return [{**fields, "query": body.query} for fields in body.texts]


def _inputs(body: PredictBody, task: str) -> Sequence[Fields]:
    if body.inputs is None or body.query is not None or body.texts is not None:
        wrong = "inputs" if body.inputs is None else "query" if body.query is not None else "texts"
        told = "inputs is missing" if body.inputs is None else f"only a ranker takes {wrong}; the task here is {task}"
        raise ApiError(400, told, code="invalid_value", param=wrong, hint='send {"inputs": ["…", "…"]}')
    return body.inputs


async def _embeddings(call: Call[EmbeddingsBody]) -> Json:
    body = call.body
    answers = await call.answers(call.questions([{"text": text} for text in body.input], "input"), "input")
    _refuse_cut(answers, call.model.served.context)
    vectors = [_vector(answer) for answer in answers]
    size = len(vectors[0])
    if body.dimensions not in (None, size):
        told = f"dimensions: the vectors of this model have {size}"
        raise ApiError(400, told, code="invalid_value", param="dimensions", hint="leave it out")
    written = [_base64(vector) if body.encoding_format == "base64" else vector for vector in vectors]
    data = [{"object": "embedding", "index": index, "embedding": each} for index, each in enumerate(written)]
    return {**call.head(object="list"), "data": data}


def _refuse_cut(answers: Sequence[Answer], context: int) -> None:
    """OpenAI's shape has no place in which to say that the end of a text was not read."""
    number = next((number for number, answer in enumerate(answers) if answer.is_cut), None)
    if number is not None:
        told = f"input[{number}] is longer than the context of {context} tokens"
        hint = "shorten it; POST /predict reads its beginning, and says so"
        raise ApiError(400, told, code="context_length_exceeded", param=f"input[{number}]", hint=hint)


def _vector(answer: Answer) -> list[float]:
    """The vector as `/predict` writes it."""
    return answer.line()["vector"]


def _base64(vector: Sequence[float]) -> str:
    """Little-endian 32-bit figures, as OpenAI sends them."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


@dataclass(frozen=True)
class Scored:
    """A document's score for the query, and by what it is ordered."""

    score: float
    order: float
    is_cut: bool


async def _rerank(call: Call[RerankBody]) -> Json:
    """The documents in order; `cut` stands where the end of one was not read."""
    body = call.body
    scored = await (_by_cosine(call) if call.model.served.embeds else _by_ranker(call))
    places = sorted(range(len(scored)), key=lambda place: -scored[place].order)
    results = []
    for place in places[: body.top_n]:
        result: Json = {"index": place, "relevance_score": scored[place].score}
        result |= {"document": body.documents[place]} if body.return_documents else {}
        results.append(result | ({"cut": True} if scored[place].is_cut else {}))
    return {**call.head(id=f"rerank-{uuid.uuid4().hex}", object="list"), "results": results}


async def _by_ranker(call: Call[RerankBody]) -> list[Scored]:
    pairs = [{**fields, "query": call.body.query} for fields in call.body.documents]
    answers = await call.answers(call.questions(pairs, "documents"), "documents")
    return [Scored(answer.line()["score"], answer.logit, answer.is_cut) for answer in answers]


async def _by_cosine(call: Call[RerankBody]) -> list[Scored]:
    """Vectors have length one, so that their products are cosines."""
    (query,) = call.questions([{"text": call.body.query}], "query")
    answers = await call.answers([query, *call.questions(call.body.documents, "documents")], "documents")
    if answers[0].is_cut:
        told = f"query is longer than the context of {call.model.served.context} tokens"
        raise ApiError(400, told, code="context_length_exceeded", param="query", hint="shorten it")
    wanted, *vectors = [answer.said["vector"] for answer in answers]
    cosines = [sum(a * b for a, b in zip(wanted, vector, strict=True)) for vector in vectors]
    return [Scored(rounded(cosine), cosine, answer.is_cut) for cosine, answer in zip(cosines, answers[1:], strict=True)]
