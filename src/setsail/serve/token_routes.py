"""`POST /tokenize` and `/detokenize`: a text in the tokens of a served model, and tokens as their text.

The ids are those that the model reads: a text as `/v1/completions` or `/predict` gives it, messages as the chat API
does. Nothing is computed by the model, no place at the gate is taken, and no tokens are charged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError
from starlette.types import ASGIApp, Receive, Scope, Send

from setsail.serve.answers import Json
from setsail.serve.errors import ApiError, shown
from setsail.serve.models import LiveModel
from setsail.serve.note import NOTE, Note
from setsail.serve.predict_schema import LONGEST_INPUT, Name, Text
from setsail.serve.prompt import chat_prompt, text_prompt
from setsail.serve.schema import MOST_MESSAGES, ChatBody, ChatMessage, many, read_body, without_what_asks_for_nothing
from setsail.serve.schema_part import MOST_TOOLS, Part, Tool
from setsail.serve.service import Live, Service
from setsail.serve.wire import read_body as read_bytes
from setsail.serve.wire import send_json
from setsail.tokens.tokenizer import Tokenizer

BodyT = TypeVar("BodyT", "TokenizeBody", "DetokenizeBody")


class TokenizeBody(Part):
    """A `text`, or `messages` (with `tools`) as the chat API takes them. Without `model` the first one is asked."""

    model: Name | None = None
    text: Text | None = None
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MOST_MESSAGES)] | None = None
    tools: Annotated[tuple[Tool, ...], BeforeValidator(many), Field(max_length=MOST_TOOLS)] = ()

    @model_validator(mode="before")
    @classmethod
    def _drop_what_asks_for_nothing(cls, value: Any) -> Any:
        return without_what_asks_for_nothing(value, set(cls.model_fields), {})

    @model_validator(mode="after")
    def _one_of_them_is_said(self) -> TokenizeBody:
        if (self.text is None) == (self.messages is None):
            both = "both text and messages are there" if self.text is not None else "there is neither text nor messages"
            raise PydanticCustomError("together", "{both}; send one of them", {"both": both})
        if self.tools and self.messages is None:
            raise PydanticCustomError("together", "tools stand beside messages")
        return self


class DetokenizeBody(Part):
    """Token `ids`. Without `model` the first one is asked."""

    model: Name | None = None
    ids: Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(many), Field(max_length=LONGEST_INPUT)]

    @model_validator(mode="before")
    @classmethod
    def _drop_what_asks_for_nothing(cls, value: Any) -> Any:
        return without_what_asks_for_nothing(value, set(cls.model_fields), {})


def tokenize(service: Service) -> ASGIApp:
    """`POST /tokenize`: ids, how many they are, and each as text."""
    return _route(service, TokenizeBody, _tokenized)


def detokenize(service: Service) -> ASGIApp:
    """`POST /detokenize`: the text of ids, special tokens shown."""
    return _route(service, DetokenizeBody, _detokenized)


def _route(service: Service, kind: type[BodyT], answer: Callable[[Live, BodyT], Json]) -> ASGIApp:
    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        body = read_body(kind, await read_bytes(scope, receive))
        model = service.model(body.model or next(iter(service.models)))
        note: Note = scope[NOTE]
        note.asks(model.served.name, model.served.lineage)
        told = await asyncio.to_thread(answer, model, body)
        await send_json(send, {"model": model.served.name, **told})

    return route


def _tokenized(model: Live, body: TokenizeBody) -> Json:
    tokenizer, ids = model.served.tokenizer, _ids(model, body)
    return {"count": len(ids), "ids": ids, "pieces": [piece(tokenizer, token_id) for token_id in ids]}


def _ids(model: Live, body: TokenizeBody) -> list[int]:
    if isinstance(model, LiveModel):
        if body.text is not None:
            return text_prompt(model.served, body.text).ids
        chat = ChatBody(model=model.served.name, messages=body.messages or [], tools=body.tools)
        return chat_prompt(model.served, chat).ids
    if body.text is None:
        told = f"{model.served.name} is {model.served.does}, and reads no messages"
        raise ApiError(400, told, code="invalid_value", param="messages", hint='send {"text": "…"}')
    return model.served.tokenizer.encode_whole(body.text)


def _detokenized(model: Live, body: DetokenizeBody) -> Json:
    tokenizer = model.served.tokenizer
    unknown = next((token_id for token_id in body.ids if token_id >= tokenizer.num_ids), None)
    if unknown is not None:
        hint = f"token ids run from 0 to {tokenizer.num_ids - 1}"
        raise ApiError(400, f"ids: there is no token {shown(unknown)}", code="invalid_value", param="ids", hint=hint)
    return {"count": len(body.ids), "text": tokenizer.decode(body.ids, skip_special=False)}


def piece(tokenizer: Tokenizer, token_id: int) -> str:
    """A token as text; bytes that are not whole characters as `<0xE4>`, others by their name in the vocabulary."""
    if not tokenizer.is_byte_level:
        return tokenizer.token(token_id) or ""
    raw = tokenizer.token_bytes(token_id, skip_special=False)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "".join(f"<0x{byte:02X}>" for byte in raw)
