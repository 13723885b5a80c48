"""`/predict` of a model that writes: for each input what it writes, each in a place of its own at the gate."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, aclosing
from dataclasses import dataclass

from starlette.types import Receive, Send

from setsail.base.errors import UserError
from setsail.serve.answers import usage
from setsail.serve.errors import ApiError
from setsail.serve.feedback.ids import LINES
from setsail.serve.gate import Ticket
from setsail.serve.generation import Generation
from setsail.serve.models import LiveModel
from setsail.serve.note import Note
from setsail.serve.predict_schema import PredictBody
from setsail.serve.prompt import asked_request
from setsail.serve.service import Service
from setsail.serve.wire import send_json, supervise
from setsail.tasks.prediction import Fields, Line, filled_text, written_line


@dataclass(frozen=True)
class Asked:
    """One input on its way; `param` is where it stands in the body."""

    model: LiveModel
    fields: Fields
    param: str
    ticket: Ticket
    note: Note

    async def written(self) -> Line:
        """The line that is said; what is read and written for it is noted as it happens. Raises `ApiError`."""
        try:
            text = filled_text(self.fields)
            request = await asyncio.to_thread(asked_request, self.model.served, text, self.model.settings)
        except (UserError, ApiError) as error:
            code = error.code if isinstance(error, ApiError) else "invalid_value"
            raise ApiError(400, error.message, code=code, param=self.param, hint=error.hint) from None
        self.note.num_prompt = (self.note.num_prompt or 0) + len(request.prompt_ids)
        generation = Generation(self.model, request, self.ticket, stop=())
        output = ""
        async with aclosing(generation.pieces()) as pieces:
            async for piece in pieces:
                output += piece.text
                self.note.num_tokens += len(piece.tokens)
        if generation.num_cached is not None:
            self.note.num_cached = (self.note.num_cached or 0) + generation.num_cached
        return written_line(self.fields, output, stopped=generation.finish_reason == "stop")


async def write_for_inputs(
    service: Service, model: LiveModel, body: PredictBody, *, note: Note, receive: Receive, send: Send
) -> None:
    """Answers `POST /predict`, where a model writes."""
    inputs = _inputs(body, most=model.gate.slots + model.gate.queue)
    with ExitStack() as places:
        asked = []
        for number, fields in enumerate(inputs):
            ticket = model.enter()
            places.callback(ticket.release)
            asked.append(Asked(model, fields, f"inputs[{number}]", ticket, note))
        seconds = service.settings.deadline_seconds
        work = _answer(asked, service, send)
        await supervise(work, receive, seconds=seconds, time_is_up=service.time_is_up)


def _inputs(body: PredictBody, *, most: int) -> tuple[Fields, ...]:
    if body.inputs is None or body.query is not None or body.texts is not None or body.probabilities:
        told = "a model that writes takes inputs alone"
        raise ApiError(400, told, code="invalid_value", param="inputs", hint='send {"inputs": ["…", "…"]}')
    if len(body.inputs) > most:
        told = f"inputs: this server has {most} places, and {len(body.inputs)} inputs were sent"
        raise ApiError(400, told, code="invalid_value", param="inputs", hint="send several requests")
    if any("text" not in fields for fields in body.inputs):
        raise ApiError(400, "an input has no text", code="missing_field", param="inputs", hint='send {"inputs": ["…"]}')
    return body.inputs


async def _answer(asked: list[Asked], service: Service, send: Send) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each.written()) for each in asked]
    except ExceptionGroup as failed:  # one request has one answer: the first of its inputs that failed
        raise failed.exceptions[0] from None
    lines, note, served = [task.result() for task in tasks], asked[0].note, asked[0].model.served
    answer_id = service.keeping.new_id(LINES, note, num_lines=len(lines))
    system = {"system": served.system} if served.system else {}
    kept = (({"text": line["text"], **system}, _said(line)) for line in lines)
    service.keeping.keep_lines(answer_id, note, served, served.task, kept)
    head = {"id": answer_id, "model": served.name, "usage": usage(note.num_prompt or 0, note.num_tokens)}
    await send_json(send, {**head, "predictions": lines})


def _said(line: Line) -> Line:
    """What the model wrote, without the columns that came back with it."""
    return {name: line[name] for name in ("output", "unfinished") if name in line}
