"""Where tools, their calls and their results stand in a conversation, for templates that know of them and for others.

Rows and requests hold `tools` (a message of that role behind the system prompt, a JSON list), calls (blocks in an
assistant's content, `base/tool_calls.py`) and results (messages of the role `tool`). A template that lists tools and
writes calls in that very form is given all of it as data. For every other one it becomes text of the three roles that
all templates know: the list stands in the system prompt, results in a user's message between <tool_response> tags.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from setsail.base.tool_calls import CLOSE, OPEN, Call, calls_in, read_answer, read_tools

TOOLS, RESULT = "tools", "tool"
OPEN_RESULT, CLOSE_RESULT = "<tool_response>", "</tool_response>"

Message = Mapping[str, str]

_INTRODUCTION = f"""\
# Tools

You may call one or more of the functions that are listed here as JSON:
<tools>
{{tools}}
</tools>

To call one, write its name and arguments as a JSON object between {OPEN} tags:
{OPEN}
{{{{"name": "function name", "arguments": {{{{"argument": "value"}}}}}}}}
{CLOSE}
What it returns comes between {OPEN_RESULT} tags."""


def as_text(messages: Sequence[Message], *, in_system: bool = True) -> list[dict[str, str]]:
    """The conversation in the roles system, user and assistant; one without tools stays as it is.

    `in_system` says whether the list of tools may stand in the system prompt; otherwise it begins the first message.

    Raises: ValueError for a list of tools that is none.
    """
    made: list[dict[str, str]] = []
    introduction = ""
    for before, message in zip([None, *messages], messages, strict=False):
        if message["role"] == TOOLS:
            listed = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in read_tools(message["content"]))
            introduction = _INTRODUCTION.format(tools=listed)
        elif message["role"] != RESULT:
            made.append(dict(message))
        else:
            result = f"{OPEN_RESULT}\n{message['content']}\n{CLOSE_RESULT}"
            if before is not None and before["role"] == RESULT:
                made[-1]["content"] += f"\n{result}"
            else:
                made.append({"role": "user", "content": result})
    return _introduced(made, introduction, in_system) if introduction else made


def _introduced(messages: list[dict[str, str]], introduction: str, in_system: bool) -> list[dict[str, str]]:
    has_system = bool(messages) and messages[0]["role"] == "system"
    if in_system and has_system:
        return [{**messages[0], "content": f"{messages[0]['content']}\n\n{introduction}"}, *messages[1:]]
    if in_system or not messages:
        return [{"role": "system", "content": introduction}, *messages]
    at = int(has_system and len(messages) > 1)
    asked = {**messages[at], "content": f"{introduction}\n\n{messages[at]['content']}"}
    return [*messages[:at], asked, *messages[at + 1 :]]


def as_data(messages: Sequence[Message]) -> tuple[list[dict[str, Any]], list[dict[str, Any]] | None]:
    """The conversation as templates take it that know of tools, and the tools; a list of tools leaves its place empty.

    Raises: ValueError for a list of tools that is none.
    """
    made: list[dict[str, Any]] = []
    tools = None
    for message in messages:
        if message["role"] == TOOLS:
            tools = read_tools(message["content"])
            made.append({})
        elif message["role"] == "assistant" and calls_in(message["content"]):
            text, calls = read_answer(message["content"])
            made.append({"role": "assistant", "content": text, "tool_calls": [_function(call) for call in calls]})
        else:
            made.append(dict(message))
    return made, tools


def _function(call: Call) -> dict[str, Any]:
    return {"type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def continues_an_exchange(message: Message) -> bool:
    """Whether a message that is no answer brings what was called for, rather than something new."""
    return message["role"] == RESULT or message["content"].startswith(OPEN_RESULT)
