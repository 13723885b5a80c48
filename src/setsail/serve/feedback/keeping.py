"""From a finished request to records of its answer; without a log nothing is kept, and ids are chance.

The invariant: a record is handed over before the client hears the end of its answer, so that it may rate it at once.
Vectors and the probabilities of every label are not kept, nor columns that the model did not read.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from setsail.serve.feedback.log import AnswerLog
from setsail.serve.feedback.record import Answered, Json, now
from setsail.serve.note import Note
from setsail.serve.schema import ChatBody, CompletionBody
from setsail.tasks.prediction import EVERY, Answer, rounded
from setsail.tokens.tokenizer import Tokenizer

VECTOR = "vector"
_UNKEPT = (EVERY, VECTOR)


class Writer(Protocol):
    """Whose answers they are; a served model."""

    @property
    def name(self) -> str: ...
    @property
    def lineage(self) -> str: ...


class Keeping:
    """What routes give their answers to."""

    def __init__(self, log: AnswerLog | None) -> None:
        self.log = log

    def new_id(self, prefix: str, note: Note, *, num_lines: int = 0) -> str:
        """An id for an answer; `num_lines` where its lines are kept each by itself."""
        if self.log is None:
            return f"{prefix}-{uuid.uuid4().hex}"
        return self.log.ids.new(prefix, note.key, num_lines=num_lines)

    def keep(
        self, answer_id: str, note: Note, model: Writer, task: str, *, path: str, asked: Json, said: Json, reason: str
    ) -> None:
        """Hands one answer over."""
        if self.log is not None:
            names = {"key": note.key, "model": model.name, "lineage": model.lineage, "task": task, "path": path}
            self.log.keep(Answered(answer_id, now(), **names, asked=asked, said=said, finish_reason=reason))

    def keep_lines(
        self,
        answer_id: str,
        note: Note,
        model: Writer,
        task: str,
        lines: Iterable[tuple[Json, Json]],
    ) -> None:
        """Hands over what was asked and said in each line of `/predict`."""
        for number, (asked, said) in enumerate(lines if self.log is not None else ()):
            reason = "length" if said.get("unfinished") else "stop"
            line = f"{answer_id}-{number}"
            self.keep(line, note, model, task, path="/predict", asked=asked, said=said, reason=reason)


def asked_of(body: ChatBody | CompletionBody, tokenizer: Tokenizer) -> Json:
    """What a client asked of a model that writes; ids of tokens as text."""
    if isinstance(body, CompletionBody):
        text = body.prompt
        return {"prompt": text if isinstance(text, str) else tokenizer.decode(list(text), skip_special=False)}
    messages = [message.model_dump(mode="json", exclude_none=True) for message in body.messages]
    asked: Json = {"messages": [{name: each for name, each in turn.items() if each != []} for turn in messages]}
    tools = [tool.model_dump(mode="json", exclude_none=True) for tool in body.offered_tools]
    return asked | ({"tools": tools} if tools else {})


def said_of(text: str, calls: Sequence[Json]) -> Json:
    """What a model wrote."""
    return {"content": text, **({"tool_calls": list(calls)} if calls else {})}


def predicted(
    answers: Iterable[Answer], inputs: Sequence[str], beside: Mapping[str, Any]
) -> Iterable[tuple[Json, Json]]:
    """What was asked and said in each answer of a predictor; `beside` is what all were asked with."""
    for answer in answers:
        asked = {**beside, **{name: answer.fields[name] for name in inputs if name in answer.fields}}
        yield asked, {name: rounded(value) for name, value in answer.said.items() if name not in _UNKEPT}
