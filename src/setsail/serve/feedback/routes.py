"""`POST /v1/feedback`: what a client says of an answer that it was given."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from starlette.types import ASGIApp, Receive, Scope, Send

from setsail.serve.errors import ApiError
from setsail.serve.feedback.log import AnswerLog
from setsail.serve.feedback.record import Rated, now
from setsail.serve.note import NOTE, Note
from setsail.serve.predict_schema import Text
from setsail.serve.schema import read_body, without_what_asks_for_nothing
from setsail.serve.schema_part import Part
from setsail.serve.wire import read_body as read_bytes
from setsail.serve.wire import send_json

PATH = "/v1/feedback"
_LONGEST_ID = 200


class FeedbackBody(Part):
    """`id` is that of the answer; of a line of `/predict` the id of the answer, a dash and the line's number from 0."""

    id: Annotated[str, Field(min_length=1, max_length=_LONGEST_ID)]
    rating: Literal["up", "down"]
    correction: Text | None = None
    comment: Text | None = None

    @model_validator(mode="before")
    @classmethod
    def _drop_what_asks_for_nothing(cls, value: Any) -> Any:
        return without_what_asks_for_nothing(value, set(cls.model_fields), {})


def feedback(log: AnswerLog | None) -> ASGIApp:
    """Keeps a rating; an answer may be rated again, and the last one counts."""

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        if log is None:
            hint = "start it with serve.answers in the recipe, or --answers FOLDER"
            raise ApiError(404, "this server keeps no answers", code="no_answer_log", hint=hint)
        body = read_body(FeedbackBody, await read_bytes(scope, receive))
        note: Note = scope[NOTE]
        log.ids.check(body.id, note.key)
        rated = Rated(body.id, now(), body.rating, body.correction or "", body.comment or "")
        outcome = await asyncio.wrap_future(log.keep(rated))
        if outcome == "lost":
            raise ApiError(503, "the rating could not be written", code="not_kept", retry_after_seconds=5)
        if outcome == "left_out":
            told = "the correction or comment holds personal data, and this server keeps none"
            raise ApiError(400, told, code="personal_data", param="correction", hint="send it without")
        await send_json(send, {"object": "feedback", "id": body.id, "rating": body.rating})

    return route
