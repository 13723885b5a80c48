"""What columns mean: a record becomes a row, or a drop with a reason.

A format is recognised by its column names alone, or named by the recipe; `data.columns` says which column plays which
part. What does not live here: reading files. The invariant: one record gives exactly one row or one drop.
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from setsail.base.errors import DataError, did_you_mean
from setsail.data.row import Drop, Message, Record, Row, row_id

# For each format, its parts: those that must be there first, then those that may be.
FORMATS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "messages": (("messages",), ("system",)),
    "sharegpt": (("conversations",), ("system",)),
    "alpaca": (("instruction", "output"), ("input", "system", "history")),
    "prompt_completion": (("prompt", "completion"), ("system",)),
    "squad": (("question", "context", "answers"), ("system",)),
    "text_label": (("text", "label"), ()),
    "text": (("text",), ()),
}
# Other names that a part goes by in files that people have, tried in this order.
_OTHER_NAMES = {
    "conversations": ("conversation",),
    "prompt": ("question", "query"),
    "completion": ("answer", "response", "reply"),
    "text": ("文本", "内容"),
    "label": ("category", "class", "intent", "标签", "类别"),
}
# Columns that are known and that no task can use as they are: what they are, and what works instead.
_KNOWN_BUT_UNUSED = (
    (
        ("translation",),
        "pairs of languages in one column (translation) cannot be used yet",
        "write each language as a column of its own, then data.columns: {prompt: en, completion: zh}",
    ),
    (
        ("head", "relation", "tail"),
        "triples of a knowledge graph (head, relation, tail) cannot be used yet",
        "write them as sentences in a column text, or as questions and answers in prompt and completion",
    ),
)
_LANGUAGES = {
    *("en", "zh", "de", "fr", "es", "ja", "ko", "ru", "it", "pt", "ar", "vi", "th", "zh-cn", "zh-tw"),
    *("english", "chinese", "source", "target", "src", "tgt", "中文", "英文", "原文", "译文"),
}
_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
}
_TOOL_ROLES = {"tool", "tools", "function", "function_call", "function_response", "observation", "ipython"}


@dataclass(frozen=True)
class Format:
    """A recognised format: its name, and for each part the column that plays it."""

    name: str
    columns: Mapping[str, str]


class Unfit(Exception):
    """Why a record cannot become a row; caught where the record is turned, never seen by a person."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


def recognise(
    found: Iterable[str], *, name: str = "auto", columns: Mapping[str, str] | None = None, place: str = ""
) -> Format:
    """The format that columns named like these hold.

    Raises:
        DataError: nothing fits, or a column that the recipe names is not there; the columns found are listed.
    """
    found = list(found)
    mapped = dict(columns or {})
    _require_known_parts(mapped, name, place)
    for part, column in mapped.items():
        if column not in found:
            raise DataError(
                f'data.columns says {part}: {column}, and there is no column "{column}"; found: {_listed(found)}',
                place=place,
                hint=did_you_mean(column, found),
            )
    if {"chosen", "rejected"} <= set(found) and name == "auto" and not mapped:
        raise DataError(
            f"preference pairs (chosen, rejected) cannot be used yet; found: {_listed(found)}",
            place=place,
            hint="keep the chosen answers only: data.columns: {prompt: …, completion: chosen}",
        )
    for candidate in FORMATS if name == "auto" else [name]:
        required, optional = FORMATS[candidate]
        places = {part: _column(part, found, mapped) for part in (*required, *optional)}
        if mapped and name == "auto" and not set(mapped) <= {*required, *optional}:
            continue
        if all(places[part] for part in required):
            return Format(candidate, {part: column for part, column in places.items() if column})
    raise _nothing_fits(found, name, place)


def to_row(record: Record, form: Format, *, system: str | None = None) -> Row | Drop:
    """The row that a record holds, or why it holds none. `system` is put before chats that have no system turn."""
    identity = row_id(dict(record.fields), record.origin)
    parts = {part: record.fields.get(column) for part, column in form.columns.items()}
    try:
        if form.name in ("text", "text_label"):
            text = _text(parts["text"], "text")
            if not text.strip():
                raise Unfit("empty_text")
            label = label_of(parts["label"]) if form.name == "text_label" else ""
            return Row(identity, (), text, record.group, record.origin, label)
        turns = _READERS[form.name](parts)
        given = _text(parts.get("system"), "system") or system
        if given and given.strip() and (not turns or turns[0]["role"] != "system"):
            turns.insert(0, Message(role="system", content=given))
        _require_answered(turns)
    except Unfit as unfit:
        return Drop(identity, record.origin, unfit.reason, unfit.detail)
    return Row(identity, tuple(turns), "", record.group, record.origin)


def label_of(value: object) -> str:
    """A label as text: numbers as they are written, white space tidied.

    >>> label_of("  late  delivery "), label_of(3.0), label_of(True)
    ('late delivery', '3', 'true')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and math.isfinite(value):
        value = int(value) if value == int(value) else value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        raise Unfit("no_label", "the label is empty")
    if not isinstance(value, str | int | float):
        raise Unfit("wrong_type", f"label is a {type(value).__name__} where one label was expected")
    label = " ".join(unicodedata.normalize("NFC", str(value)).split())
    if not label:
        raise Unfit("no_label", "the label is empty")
    return label


def for_task(form: Format, task: str, place: str) -> Format:
    """The format as a task reads it: labels are for task classify alone.

    Raises:
        DataError: text for a chat, chats for plain text, anything without labels for classify.
    """
    if task == "classify" and form.name != "text_label":
        raise DataError(
            f"task classify needs a text and a label column, and the data is in the form {form.name}",
            place=place,
            hint="name the columns: data.columns: {text: …, label: …}",
        )
    if task != "classify" and form.name == "text_label":
        form = Format("text", {"text": form.columns["text"]})
    if task == "chat" and form.name == "text":
        raise DataError(
            "task chat needs questions and answers, and the data holds only texts",
            place=place,
            hint="write task: text or task: classify, or name columns: data.columns: {prompt: …, completion: …}",
        )
    if task == "text" and form.name != "text":
        raise DataError(
            f"task text needs a text column, and the data is in the form {form.name}",
            place=place,
            hint="write task: chat, or data.columns: {text: …}",
        )
    return form


def _require_known_parts(mapped: Mapping[str, str], name: str, place: str) -> None:
    formats = FORMATS if name == "auto" else {name: FORMATS[name]}
    known = {part for required, optional in formats.values() for part in (*required, *optional)}
    for part in mapped:
        if part not in known:
            raise DataError(f'data.columns has no part "{part}"', place=place, hint=did_you_mean(part, known))


def _column(part: str, found: list[str], mapped: Mapping[str, str]) -> str | None:
    if part in mapped:
        return mapped[part]
    names = (part, *_OTHER_NAMES.get(part, ()))
    lowered = {column.casefold(): column for column in reversed(found)}
    return next((lowered[name] for name in names if name in lowered), None)


def _nothing_fits(found: list[str], name: str, place: str) -> DataError:
    wanted = " or ".join(" and ".join(FORMATS[n][0]) for n in ([name] if name != "auto" else FORMATS))
    lowered = {column.casefold() for column in found}
    for columns, words, hint in _KNOWN_BUT_UNUSED:
        if lowered.issuperset(columns):
            return DataError(f"{words}; found: {_listed(found)}", place=place, hint=hint)
    languages = [column for column in found if column.casefold() in _LANGUAGES]
    if len(languages) == 2:
        first, second = languages
        return DataError(
            f"aligned columns ({first}, {second}) do not say which is the question",
            place=place,
            hint=f"say it: data.columns: {{prompt: {first}, completion: {second}}}",
        )
    return DataError(
        f"no columns for {wanted}; found: {_listed(found)}",
        place=place,
        hint="say which columns to use, for example data.columns: {prompt: question, completion: answer}",
    )


def _listed(found: list[str]) -> str:
    shown = ", ".join(found[:20]) or "none"
    return shown + (f" and {len(found) - 20} more" if len(found) > 20 else "")


def _text(value: object, part: str) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(line, str) for line in value):
        return "\n".join(value)  # a poem's lines, a document's paragraphs
    raise Unfit("wrong_type", f"{part} is a {type(value).__name__} where text was expected")


def _from_turns(parts: Mapping[str, object]) -> list[Message]:
    value = parts.get("messages", parts.get("conversations"))
    return [_turn(turn) for turn in _list(value, "messages")]


def _list(value: object, part: str) -> list[object]:
    """A list, or the JSON text of one, which is how a csv holds conversations."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise Unfit("broken_json", f"{part} is not valid JSON") from error
    if value is None or value == "":
        return []
    if not isinstance(value, list):
        raise Unfit("wrong_type", f"{part} is a {type(value).__name__} where a list of turns was expected")
    return value


def _turn(turn: object) -> Message:
    if not isinstance(turn, dict):
        raise Unfit("wrong_type", f"a turn is a {type(turn).__name__}")
    role = turn.get("role", turn.get("from"))
    known = role.strip().casefold() if isinstance(role, str) else ""
    if known in _TOOL_ROLES or turn.get("tool_calls") or turn.get("function_call"):
        raise Unfit("tool_call", "calls of tools cannot be trained on yet")
    if known not in _ROLES:
        raise Unfit("unknown_role", "a turn whose role is none of system, user, assistant")
    return Message(role=_ROLES[known], content=_content(turn.get("content", turn.get("value"))))


def _content(value: object) -> str:
    """A turn's text; OpenAI's list of parts is joined when all are text."""
    if not isinstance(value, list):
        return _text(value, "content")
    texts = []
    for part in value:
        if not isinstance(part, dict) or part.get("type") not in ("text", "input_text", "output_text"):
            raise Unfit("not_text", "a turn holds an image, a sound or another part that is not text")
        texts.append(_text(part.get("text", part.get("value")), "content"))
    return "".join(texts)


def _from_alpaca(parts: Mapping[str, object]) -> list[Message]:
    turns: list[Message] = []
    for pair in _list(parts.get("history"), "history"):
        if not isinstance(pair, list) or len(pair) != 2:
            raise Unfit("wrong_type", "history is not a list of [question, answer]")
        turns.append(Message(role="user", content=_text(pair[0], "history")))
        turns.append(Message(role="assistant", content=_text(pair[1], "history")))
    asked = [_text(parts.get(part), part) for part in ("instruction", "input")]
    turns.append(Message(role="user", content="\n".join(text for text in asked if text.strip())))
    turns.append(Message(role="assistant", content=_text(parts["output"], "output")))
    return turns


def _from_pair(parts: Mapping[str, object]) -> list[Message]:
    """Prompt and completion: two texts, or two lists of turns as TRL has them."""
    prompt, completion = parts["prompt"], parts["completion"]
    if isinstance(prompt, list) or isinstance(completion, list):
        return [_turn(turn) for turn in [*_list(prompt, "prompt"), *_list(completion, "completion")]]
    return [
        Message(role="user", content=_text(prompt, "prompt")),
        Message(role="assistant", content=_text(completion, "completion")),
    ]


def _from_squad(parts: Mapping[str, object]) -> list[Message]:
    """The text and the question about it; the answer is the first of those given, and none is no answer."""
    answers = parts["answers"]
    texts = answers.get("text") if isinstance(answers, dict) else answers
    texts = [answer.get("text") if isinstance(answer, dict) else answer for answer in _list(texts, "answers")]
    asked = [_text(parts["context"], "context"), _text(parts["question"], "question")]
    return [
        Message(role="user", content="\n\n".join(text for text in asked if text.strip())),
        Message(role="assistant", content=_text(texts[0], "answers") if texts else ""),
    ]


def _require_answered(turns: list[Message]) -> None:
    if not turns:
        raise Unfit("no_answer", "no turn at all")
    last = turns[-1]
    if last["role"] != "assistant" or not last["content"].strip():
        raise Unfit("no_answer", "the last turn is not an answer" if last["role"] != "assistant" else "an empty answer")
    spoken = [turn for turn in turns if turn["role"] != "system"]
    if spoken[0]["role"] != "user":
        raise Unfit("no_question", "the conversation does not begin with a question")
    if not all(turn["content"].strip() for turn in spoken):
        raise Unfit("empty_turn", "a turn before the last holds nothing")
    if any(turn["role"] == "system" for turn in turns[1:]):
        raise Unfit("late_system", "a system turn stands after the first turn")


_READERS: dict[str, Callable[[Mapping[str, object]], list[Message]]] = {
    "messages": _from_turns,
    "sharegpt": _from_turns,
    "alpaca": _from_alpaca,
    "prompt_completion": _from_pair,
    "squad": _from_squad,
}
