"""What a client may say to a model that writes: two request bodies; and how every body is read, strictly.

A refusal names the field. The bodies of predictions stand in `predict_schema.py`.

Wrong type or value: 400. A field that nobody knows: 422 with the nearest name. A field of OpenAI's that this server
does not have: 400, unless its value asks for nothing. Nothing is ignored in silence.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from setsail.base.errors import did_you_mean
from setsail.serve.errors import ApiError, shown
from setsail.serve.schema_part import LONGEST_NAME, MOST_TOOLS, Part, ResponseFormat, Tool, ToolCall

MOST_STOPS = 4
LONGEST_STOP = 500
LARGEST_MAX_TOKENS = 10**9
MOST_TOP_LOGPROBS = 20
# Rendering looks at every answer with all that stands before it, which is quadratic in the number of messages.
MOST_MESSAGES = 1000

# Fields of OpenAI's API that we do not have, with the values that ask for nothing.
_NOT_HERE: dict[str, tuple[object, ...]] = {
    "audio": (),
    "best_of": (1,),
    "echo": (False,),
    "function_call": ("none",),
    "functions": ([],),
    "logit_bias": ({},),
    "metadata": ({},),
    "modalities": (["text"],),
    "parallel_tool_calls": (True, False),
    "prediction": (),
    "prompt_cache_key": (),
    "reasoning_effort": ("none",),
    "response_format": ({"type": "text"},),  # of plain completions
    "safety_identifier": (),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "suffix": ("",),
    "tool_choice": ("none", "auto"),
    "verbosity": (),
    "web_search_options": (),
}
# Fields that OpenAI's own answers carry, and that clients send back with the history.
_EMPTY_IN_A_MESSAGE = ("annotations", "audio", "function_call", "name", "refusal")


def _text_of(value: object) -> object:
    """A message's content as one string: a string, or a list of text parts."""
    if not isinstance(value, list):
        return value
    texts: list[str] = []
    for part in value:
        kind = part.get("type") if isinstance(part, dict) else None
        if not isinstance(part, dict) or not isinstance(kind, str):
            raise PydanticCustomError("content_part", "a content part must be an object with a type")
        if kind != "text":
            what = "images are" if kind.startswith("image") else f"parts of type {shown(kind)} are"
            raise PydanticCustomError("content_part", "{what} not understood by this text model", {"what": what})
        if not isinstance(part.get("text"), str) or set(part) != {"type", "text"}:
            raise PydanticCustomError("content_part", "a text part must hold type and text, and nothing else")
        texts.append(part["text"])
    return "".join(texts)


def many(value: object) -> object:
    """One string as a tuple of one; a list as a tuple."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def _prompt(value: object) -> object:
    """A prompt: a string or token ids; a list of one string is that string."""
    if not isinstance(value, list):
        return value
    if len(value) == 1 and isinstance(value[0], str):
        return value[0]
    if any(isinstance(item, str | list) for item in value):
        raise PydanticCustomError("prompt", "one prompt per request: a string, or a list of token ids")
    return tuple(value)


def without_what_asks_for_nothing(value: Any, known: set[str], not_here: dict[str, tuple[object, ...]]) -> Any:
    """Nulls mean "the default"; fields we do not have are refused unless they ask for nothing."""
    if not isinstance(value, dict):
        return value
    kept: dict[str, object] = {}
    for name, item in value.items():
        absent = name in not_here and name not in known
        if (item is None and (absent or name in known)) or (absent and item in not_here[name]):
            continue
        if absent:
            raise PydanticCustomError("not_here", "{name} is not supported by this server", {"name": name})
        kept[name] = item
    return kept


class ChatMessage(Part):
    """One turn of a conversation: an answer may hold calls of tools, and a tool's turn is what one returned."""

    role: Literal["system", "user", "assistant", "tool"]
    content: Annotated[str, BeforeValidator(_text_of)]
    tool_calls: Annotated[tuple[ToolCall, ...], BeforeValidator(many)] = ()
    tool_call_id: Annotated[str, Field(max_length=LONGEST_NAME)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _drop_what_asks_for_nothing(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("tool_calls") and value.get("content") is None:
            value = {**value, "content": ""}  # OpenAI's own answers with calls hold no text
        known = {"tool_calls", "tool_call_id"}
        return without_what_asks_for_nothing(value, known, dict.fromkeys(_EMPTY_IN_A_MESSAGE, ([],)))

    @model_validator(mode="after")
    def _calls_fit_the_role(self) -> ChatMessage:
        if self.tool_calls and self.role != "assistant":
            raise PydanticCustomError("together", "tool_calls belong to an assistant's message")
        if self.tool_call_id is not None and self.role != "tool":
            raise PydanticCustomError("together", "tool_call_id belongs to a message of the role tool")
        return self


class StreamOptions(Part):
    """`include_usage` adds a last chunk with the token counts."""

    include_usage: bool = False
    include_obfuscation: Literal[False] = False


Stop = Annotated[str, Field(min_length=1, max_length=LONGEST_STOP)]


class Sampling(Part):
    """What both kinds of request have in common; the defaults are greedy, as the evaluation was."""

    model: Annotated[str, Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=1, le=LARGEST_MAX_TOKENS)] | None = None
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] = 0.0
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: Annotated[tuple[Stop, ...], BeforeValidator(many), Field(max_length=MOST_STOPS)] = ()
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: Literal[1] = 1
    presence_penalty: Annotated[float, Field(ge=0.0, le=0.0)] = 0.0
    frequency_penalty: Annotated[float, Field(ge=0.0, le=0.0)] = 0.0
    user: str | None = None
    return_token_ids: bool = False

    @model_validator(mode="before")
    @classmethod
    def _drop_what_asks_for_nothing(cls, value: Any) -> Any:
        return without_what_asks_for_nothing(value, set(cls.model_fields), _NOT_HERE)

    @model_validator(mode="after")
    def _options_fit_together(self) -> Sampling:
        if self.stream_options is not None and not self.stream:
            raise PydanticCustomError("together", "stream_options needs stream: true")
        return self

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage


class ChatBody(Sampling):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MOST_MESSAGES)]
    tools: Annotated[tuple[Tool, ...], BeforeValidator(many), Field(max_length=MOST_TOOLS)] = ()
    tool_choice: Literal["none", "auto"] = "auto"
    response_format: ResponseFormat | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=LARGEST_MAX_TOKENS)] | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_TOP_LOGPROBS)] | None = None

    @model_validator(mode="after")
    def _chat_options_fit_together(self) -> ChatBody:
        if self.top_logprobs is not None and not self.logprobs:
            raise PydanticCustomError("together", "top_logprobs needs logprobs: true")
        if None not in (self.max_tokens, self.max_completion_tokens) and self.max_tokens != self.max_completion_tokens:
            raise PydanticCustomError("together", "max_tokens and max_completion_tokens differ; send one of them")
        names = [tool.function.name for tool in self.tools]
        if len(set(names)) < len(names):
            raise PydanticCustomError("together", "two tools have one name")
        if self.is_json and (self.stop or self.offered_tools):
            beside = "stop" if self.stop else "tools"
            raise PydanticCustomError(
                "together", "response_format beside {beside} is not supported", {"beside": beside}
            )
        return self

    @property
    def is_json(self) -> bool:
        """Whether the answer must be JSON."""
        return self.response_format is not None and self.response_format.type != "text"

    @property
    def offered_tools(self) -> tuple[Tool, ...]:
        """The tools that may be called."""
        return () if self.tool_choice == "none" else self.tools

    @property
    def wanted_tokens(self) -> int | None:
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens

    @property
    def num_logprobs(self) -> int:
        """How many alternatives the engine must give; one when only the chosen token's own is wanted."""
        return max(1, self.top_logprobs or 0) if self.logprobs else 0


class CompletionBody(Sampling):
    """`POST /v1/completions`."""

    prompt: Annotated[str | tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(_prompt), Field(min_length=1)]
    logprobs: Annotated[int, Field(ge=0, le=MOST_TOP_LOGPROBS)] | None = None

    @property
    def wanted_tokens(self) -> int | None:
        return self.max_tokens

    @property
    def num_logprobs(self) -> int:
        return 0 if self.logprobs is None else max(1, self.logprobs)


BodyT = TypeVar("BodyT", bound=Part)


def read_json(raw: bytes) -> dict[str, object]:
    """The JSON object in a body. Raises `ApiError` 400 for anything else, however deep or damaged."""
    try:
        value = json.loads(raw.decode("utf-8"), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise _not_json(f"the body is not UTF-8 (byte {error.start})") from None
    except RecursionError:
        raise _not_json("the body is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise _not_json(f"the body is not JSON: {error.msg} (line {error.lineno}, column {error.colno})") from None
    except ValueError:
        # An integer of thousands of digits, which Python refuses to read, or a constant that JSON does not have.
        raise _not_json("the body holds a number that JSON does not have or that is too long") from None
    if not isinstance(value, dict):
        raise _not_json(f"the body must be a JSON object, not {shown(value)}")
    return value


def read_body(kind: type[BodyT], raw: bytes) -> BodyT:
    """A checked body. Raises `ApiError` 400 or 422."""
    value = read_json(raw)
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise _refusal(kind, error) from None


def _no_constant(name: str) -> object:
    raise ValueError(name)


def _not_json(message: str) -> ApiError:
    return ApiError(400, message, code="invalid_json")


def _refusal(kind: type[BaseModel], error: ValidationError) -> ApiError:
    """The first problem in words; unknown fields go first, since they often explain the others."""
    problems = error.errors(include_url=False)
    problem = min(problems, key=lambda item: item["type"] != "extra_forbidden")
    place = problem["loc"]
    param = _path(place)
    if problem["type"] == "extra_forbidden":
        name = str(place[-1])
        known = _fields_at(kind, place[:-1])
        hint = did_you_mean(name, known)
        return ApiError(422, f"unknown field {shown(name)}", code="unknown_field", param=_path((name,)), hint=hint)
    if problem["type"] == "missing":
        return ApiError(400, f"{param} is missing", code="missing_field", param=param)
    if problem["type"] == "not_here":
        name = str(problem.get("ctx", {}).get("name"))
        return ApiError(400, problem["msg"], code="unsupported_field", param=name)
    if problem["type"] == "question":
        return ApiError(400, f"{param}: {problem['msg']}", code="invalid_value", param=param)
    if problem["type"] in ("together", "content_part", "prompt"):
        return ApiError(400, problem["msg"], code="invalid_value", param=param or None)
    message = f"{param}: {_reason(problem['type'], problem['msg'])}, got {shown(problem['input'])}"
    return ApiError(400, message, code="invalid_value", param=param, hint=_hint(param))


def _reason(kind: str, message: str) -> str:
    if kind == "string_unicode":
        return "must be Unicode text without lone surrogates"
    return message[0].lower() + message[1:]


def _hint(param: str) -> str | None:
    if param == "n":
        return "only one answer per request is supported; send several requests"
    if param.endswith("_penalty"):
        return "penalties are not supported; leave the field out or send 0"
    if param.endswith(".role"):
        return "roles: system, user, assistant, tool"
    if param == "tool_choice":
        return "the model decides (auto), or no tool is offered (none)"
    return None


def _path(place: tuple[int | str, ...]) -> str:
    """`("messages", 0, "content")` as `messages[0].content`, without the names of union branches."""
    text = ""
    for step in place:
        if isinstance(step, int):
            text += f"[{step}]"
        elif step.isidentifier() and step not in ("str", "int", "function-before"):
            text += f".{step}" if text else step
    return text[:200] if text else "".join(str(step) for step in place)[:200]


def _fields_at(kind: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """The fields that may stand where an unknown one stood."""
    if place and place[0] == "messages":
        return list(ChatMessage.model_fields)
    if place and place[0] == "stream_options":
        return list(StreamOptions.model_fields)
    return list(kind.model_fields)
