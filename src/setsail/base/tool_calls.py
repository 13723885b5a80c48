"""Calls of tools as text: the one form in which rows hold them, models write them and the server reads them.

An answer is its text, if any, and behind it a block for each call, in the manner of Hermes and Qwen:

    <tool_call>
    {"name": "weather", "arguments": {"city": "Paris"}}
    </tool_call>

A list of tools is JSON of OpenAI's form. What does not live here: where the blocks stand in a prompt
(`tokens/tools.py`). The invariant: reading what was written gives the same calls.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

OPEN, CLOSE = "<tool_call>", "</tool_call>"


@dataclass(frozen=True)
class Call:
    """One call: the tool's name and its arguments by name."""

    name: str
    arguments: dict[str, Any]


def write_answer(text: str, calls: Sequence[Call]) -> str:
    """An answer with its calls.

    >>> print(write_answer("Let me see.", [Call("weather", {"city": "巴黎"})]))
    Let me see.
    <tool_call>
    {"name": "weather", "arguments": {"city": "巴黎"}}
    </tool_call>
    """
    blocks = [f"{OPEN}\n{_json({'name': call.name, 'arguments': call.arguments})}\n{CLOSE}" for call in calls]
    return "\n".join([*([text.rstrip()] if text.strip() else []), *blocks]) if blocks else text


def read_answer(answer: str) -> tuple[str, tuple[Call, ...]]:
    """The text before the calls, and the calls; a last block that nothing closes counts.

    Raises:
        ValueError: a block is no call, or text stands behind one.
    """
    text, opened, rest = answer.partition(OPEN)
    calls: list[Call] = []
    while opened:
        body = rest.lstrip()
        value, end = json.JSONDecoder(parse_constant=_no_constant).raw_decode(body)
        calls.append(read_call(value))
        between, opened, rest = body[end:].strip().removeprefix(CLOSE).lstrip().partition(OPEN)
        if between.strip():
            raise ValueError("text stands behind a call")
    return (text.rstrip() if calls else text), tuple(calls)


def calls_in(answer: str) -> tuple[Call, ...] | None:
    """The calls of an answer; None where it means to make some and none can be read.

    >>> calls_in("Hello."), calls_in("<tool_call> weather?")
    ((), None)
    """
    try:
        return read_answer(answer)[1]
    except (ValueError, RecursionError):
        return None


def read_call(value: object) -> Call:
    """A call from JSON of its own form or of OpenAI's; arguments may be JSON text.

    Raises: ValueError for anything else.
    """
    if isinstance(value, dict) and isinstance(value.get("function"), dict):
        value = value["function"]
    if not isinstance(value, dict) or not isinstance(value.get("name"), str) or not value["name"].strip():
        raise ValueError("a call has no name")
    arguments = value.get("arguments")
    if isinstance(arguments, str):
        arguments = json.loads(arguments, parse_constant=_no_constant) if arguments.strip() else {}
    if not isinstance(arguments, dict | None):
        raise ValueError("the arguments of a call are no JSON object")
    return Call(value["name"], arguments or {})


def write_tools(tools: Sequence[object]) -> str:
    """Tools as JSON of OpenAI's form.

    >>> write_tools([{"name": "now"}])
    '[{"type": "function", "function": {"name": "now"}}]'

    Raises: ValueError for a tool without a name, and for two of one name.
    """
    made = []
    for tool in tools:
        inner = tool.get("function", tool) if isinstance(tool, dict) else None
        if not isinstance(inner, dict) or not isinstance(inner.get("name"), str) or not inner["name"].strip():
            raise ValueError("a tool has no name")
        made.append({"type": "function", "function": inner})
    names = [tool["function"]["name"] for tool in made]
    if len(set(names)) < len(names):
        raise ValueError("two tools have one name")
    return _json(made)


def read_tools(text: str) -> list[dict[str, Any]]:
    """The tools that `write_tools` wrote. Raises: ValueError for anything else."""
    return json.loads(write_tools(json.loads(text)))


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")
