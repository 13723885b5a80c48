"""The strict parts of a request that have no place among the bodies themselves: tools, calls, formats of answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from setsail.base.tool_calls import Call, read_call

MOST_TOOLS = 128
LONGEST_NAME = 200


class Part(BaseModel):
    """A part of a request: strict types, no unknown fields, no infinities."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Function(Part):
    """A function that may be called: its name, what it does, and the JSON schema of its arguments."""

    name: Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    @field_validator("strict")
    @classmethod
    def _is_not_promised(cls, value: bool | None) -> bool | None:
        if value:
            raise PydanticCustomError("together", "strict arguments are not supported by this server")
        return value


class Tool(Part):
    """A tool as OpenAI has it; functions are the only kind."""

    type: Literal["function"]
    function: Function


class CalledFunction(Part):
    """What was called; `arguments` is JSON text."""

    name: Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
    arguments: str = "{}"

    @field_validator("arguments")
    @classmethod
    def _are_an_object(cls, value: str) -> str:
        try:
            read_call({"name": "any", "arguments": value})
        except (ValueError, RecursionError):
            raise PydanticCustomError("together", "arguments must be the JSON text of an object") from None
        return value


class JsonSchema(Part):
    """A JSON schema by a name, as OpenAI has it; it is kept to whatever `strict` says."""

    name: Annotated[str, Field(max_length=LONGEST_NAME)] = ""
    description: str | None = None
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    strict: bool | None = None


class ResponseFormat(Part):
    """What an answer must be: any text, any JSON object, or JSON that is valid by a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _the_schema_is_there_when_it_is_meant(self) -> ResponseFormat:
        if (self.type == "json_schema") != (self.json_schema is not None):
            wrong = "needs json_schema" if self.json_schema is None else "takes no json_schema"
            raise PydanticCustomError("together", "type {type} {wrong}", {"type": self.type, "wrong": wrong})
        return self


class ToolCall(Part):
    """A call that an earlier answer made, as it was sent to the client."""

    id: Annotated[str, Field(max_length=LONGEST_NAME)] = ""
    type: Literal["function"] = "function"
    function: CalledFunction

    @property
    def call(self) -> Call:
        return read_call({"name": self.function.name, "arguments": self.function.arguments})
