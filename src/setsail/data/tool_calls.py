"""Tools in records: calls and results become turns of text, a list of tools becomes one, and what does not fit is told.

What does not live here: the form of a call (`base/tool_calls.py`), and the other turns (`formats.py`). The invariant:
in a row that is kept, every call names a tool of the row's list, and every result follows calls that it may answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from setsail.base.tool_calls import Call, calls_in, read_call, read_tools, write_answer, write_tools
from setsail.data.row import Message, Unfit

# Roles of turns that are calls, and of those that are results, in the words of OpenAI, ShareGPT and Llama.
CALLING = ("function_call",)
RETURNING = ("tool", "tools", "function", "function_response", "observation", "ipython")


def calling_turn(text: str, calls: object) -> Message:
    """An assistant's turn with its calls: OpenAI's list, or one call alone, as data or as JSON text."""
    try:
        if isinstance(calls, str):
            calls = json.loads(calls)
        listed = calls if isinstance(calls, list) else [calls]
        made = [read_call(call) for call in listed]
    except (ValueError, RecursionError) as error:
        raise Unfit("broken_call", f"a call of a tool cannot be read: {type(error).__name__}") from error
    return Message(role="assistant", content=write_answer(text, made))


def returning_turn(content: object) -> Message:
    """What a tool returned; data becomes JSON."""
    if isinstance(content, dict | list | int | float):
        content = json.dumps(content, ensure_ascii=False)
    return Message(role="tool", content=content if isinstance(content, str) else "")


def listing_turn(tools: object) -> Message | None:
    """The tools of a row, as a list or as JSON text of one; None where there are none."""
    try:
        tools = json.loads(tools) if isinstance(tools, str) and tools.strip() else tools
        if not tools:
            return None
        if not isinstance(tools, list):
            raise ValueError("the tools are no list")
        listed = [json.loads(tool) if isinstance(tool, str) else tool for tool in tools]
        return Message(role="tools", content=write_tools([_without_nulls(tool) for tool in listed]))
    except (ValueError, RecursionError) as error:
        raise Unfit("broken_tools", "the list of tools cannot be read") from error


def require_sound_calls(turns: Sequence[Message]) -> None:
    """What calls and results need of one another and of the list."""
    known = {
        tool["function"]["name"] for turn in turns if turn["role"] == "tools" for tool in read_tools(turn["content"])
    }
    num_open = 0  # calls that wait for their results
    for turn in turns:
        calls = _calls(turn)
        if any(call.name not in known for call in calls):
            raise Unfit("unknown_tool", "a call of a tool that the row does not list")
        num_open = num_open - 1 if turn["role"] == "tool" else len(calls)
        if num_open < 0:
            raise Unfit("result_without_call", "a result of a tool that nothing called")


def _calls(turn: Message) -> Sequence[Call]:
    return (calls_in(turn["content"]) or ()) if turn["role"] == "assistant" else ()


def _without_nulls(tool: object) -> object:
    """Parquet gives every tool the fields of all the others, empty."""
    if isinstance(tool, Mapping):
        return {key: _without_nulls(value) for key, value in tool.items() if value is not None}
    return [_without_nulls(item) for item in tool] if isinstance(tool, list) else tool
