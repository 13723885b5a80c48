"""What columns mean: a record becomes a row, or a drop with a reason.

A format is recognised by its column names alone, or named by the recipe; `data.columns` says which column plays which
part. What does not live here: reading files. The invariant: one record gives exactly one row or one drop.
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from setsail.base.errors import DataError, did_you_mean
from setsail.base.recipe_pairs import WRITING_TASKS
from setsail.base.recipe_prefer import PREFERENCE
from setsail.data.damage import damaged
from setsail.data.pair_formats import (
    TEXT_PAIR_FORMATS,
    TEXT_PAIR_NAMES,
    columns_of_pair,
    refuse_aligned,
    refuse_undirected,
    refuse_unfit_form,
    sides_inside,
)
from setsail.data.pairs import FORMATS_OF, PAIR_FORMATS, PAIR_NAMES, PAIR_TASKS, read_pair
from setsail.data.read_formats import BY_NAME_ALONE, READ_FORMATS, READ_NAMES, read_row
from setsail.data.row import BEFORE_SPEAKING, Drop, Message, Record, Row, Unfit, row_id
from setsail.data.tool_calls import CALLING, RETURNING, calling_turn, listing_turn, require_sound_calls, returning_turn

# For each format, its parts: those that must be there first, then those that may be.
Formats = Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]
FORMATS: Formats = {
    PREFERENCE: (
        ("chosen", "rejected"),
        ("prompt", "messages", "conversations", "instruction", "input", "history", "system", "tools"),
    ),
    "messages": (("messages",), ("system", "tools")),
    "sharegpt": (("conversations",), ("system", "tools")),
    "alpaca": (("instruction", "output"), ("input", "system", "history")),
    "prompt_completion": (("prompt", "completion"), ("system",)),
    "squad": (("question", "context", "answers"), ("system",)),
    "text_label": (("text", "label"), ()),
    "text": (("text",), ()),
    **TEXT_PAIR_FORMATS,
}
# Other names that a part goes by in files that people have, tried in this order.
_OTHER_NAMES = {
    "conversations": ("conversation",),
    "prompt": ("question", "query"),
    "completion": ("answer", "response", "reply"),
    "text": ("文本", "内容", "作答"),
    "label": ("category", "class", "intent", "标签", "类别"),
    **TEXT_PAIR_NAMES,
    **READ_NAMES,
}
# Columns that are known and that no task can use as they are: what they are, and what works instead.
_KNOWN_BUT_UNUSED = (
    (
        ("head", "relation", "tail"),
        "triples of a knowledge graph (head, relation, tail) cannot be used yet",
        "put the sentence that says so in a column text and write task: relate, or make questions and answers of them",
    ),
)
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


# Columns that every record has, for data.columns alone: the name of its file without its ending, and of its folder.
PLACE_COLUMNS = ("$file", "$folder")


@dataclass(frozen=True)
class Format:
    """A recognised format: its name, and for each part the column that plays it; `reads` where a task has its own."""

    name: str
    columns: Mapping[str, str]
    reads: bool = False
    no_answer: tuple[str, ...] = ()


def recognise(
    found: Iterable[str],
    *,
    name: str = "auto",
    columns: Mapping[str, str] | None = None,
    place: str = "",
    task: str = "",
    languages: Sequence[str] | None = None,
) -> Format:
    """The format that columns named like these hold, for a task or, without one, for whichever may be meant.

    Raises:
        DataError: nothing fits, or a column that the recipe names is not there; the columns found are listed.
    """
    mapped = dict(columns or {})
    found = [*found, *(name for name in PLACE_COLUMNS if name in mapped.values())]
    formats = _formats_for(task)
    if name != "auto" and name not in formats:
        hint = f"one of {', '.join(formats)}, or leave data.format out"
        raise DataError(f"task {task} does not read the form {name}", place="data.format", hint=hint)
    formats = formats if name == "auto" else {name: formats[name]}
    _require_known_parts(mapped, formats, place)
    if name in ("auto", *TEXT_PAIR_FORMATS) and (pair := columns_of_pair(found, mapped, languages, place)) is not None:
        return Format(*pair)
    for part, column in mapped.items():
        if column not in found:
            raise DataError(
                f'data.columns says {part}: {column}, and there is no column "{column}"; found: {_listed(found)}',
                place=place,
                hint=did_you_mean(column, found),
            )
    for candidate, (required, optional) in formats.items():
        if name == "auto" and candidate in BY_NAME_ALONE:
            continue
        places = {part: _column(part, found, mapped, candidate) for part in (*required, *optional)}
        if mapped and name == "auto" and not set(mapped) <= {*required, *optional}:
            continue
        if all(places[part] for part in required):
            if candidate == "translation":
                refuse_undirected(found, place)
            reads = candidate in READ_FORMATS.get(task, ())
            return Format(candidate, {part: column for part, column in places.items() if column}, reads)
    raise _nothing_fits(found, formats, place)


def to_row(record: Record, form: Format, *, system: str | None = None, damage: Sequence[str] = ()) -> Row | Drop:
    """The row that a record holds, or why it holds none. `system` is put before chats that have no system turn.

    With `damage` a text becomes a pair: what is left of it is the source, the text itself the target.
    """
    identity = row_id(dict(record.fields), record.origin)
    parts = {part: record.fields.get(column) for part, column in form.columns.items()}
    try:
        if form.reads:
            row = Row(identity, (), "", record.group, record.origin)
            return read_row(form.name, parts, row, no_answer=form.no_answer)
        if form.name in ("text", "text_label"):
            text = _text(parts["text"], "text")
            if not text.strip():
                raise Unfit("empty_text")
            label = label_of(parts["label"]) if form.name == "text_label" else ""
            if not damage:
                return Row(identity, (), text, record.group, record.origin, label)
            parts = {"source": damaged(text, damage), "target": text}
        if form.name in PAIR_FORMATS:
            texts, label = read_pair(form.name, parts)
            return Row(identity, texts, "", record.group, record.origin, label)
        if form.name == "translation":
            parts |= sides_inside(record.fields, form.columns)
        turns = _READERS["pair" if damage else form.name](parts)
        rejected = turns.pop()["content"] if form.name == PREFERENCE else None
        given = _text(parts.get("system"), "system") or system
        if given and given.strip() and (not turns or turns[0]["role"] != "system"):
            turns.insert(0, Message(role="system", content=given))
        listed = listing_turn(parts.get("tools"))
        if listed is not None:
            turns.insert(1 if turns and turns[0]["role"] == "system" else 0, listed)
        _require_answered(turns)
        require_sound_calls(turns)
        if rejected is not None:
            _require_preferred(turns, rejected)
            turns.append(Message(role="rejected", content=rejected))
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


def for_task(form: Format, task: str, place: str, *, damage: Sequence[str] = ()) -> Format:
    """The format as a task reads it, or as "preference" reads it: one label for a text is for task classify alone.

    Texts are pairs where they are damaged.

    Raises:
        DataError: text for a chat, chats for plain text, anything without labels for classify, pairs of answers where
            none are compared and the other way round.
    """
    if form.reads:
        return form
    if (task == PREFERENCE) != (form.name == PREFERENCE):
        raise _not_compared(form, place) if form.name == PREFERENCE else _nothing_to_compare(form, place)
    if task in PAIR_TASKS or form.name in PAIR_FORMATS:
        if form.name not in FORMATS_OF.get(task, ()):
            raise DataError(f"the form {form.name} is not for task {task}", place=place, hint=_pair_hint(task))
        return form
    refuse_unfit_form(form.name, task, damage, place)
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


def _formats_for(task: str) -> Formats:
    """Those that rows of a task may have; without a task, all that columns alone can tell."""
    if task in FORMATS_OF:
        return {name: PAIR_FORMATS[name] for name in FORMATS_OF[task]}
    if not task:
        early = {name: PAIR_FORMATS[name] for name in ("graded", "scored_pair")}
        return {**early, **FORMATS, **PAIR_FORMATS}
    own = READ_FORMATS.get(task, {})
    if task in WRITING_TASKS:
        return {**TEXT_PAIR_FORMATS, **FORMATS}
    return {**own, **FORMATS} if task == "classify" else own or FORMATS


def _not_compared(form: Format, place: str) -> DataError:
    prompt = next((column for part, column in form.columns.items() if part in ("prompt", "instruction")), "…")
    only = f"data.columns: {{prompt: {prompt}, completion: {form.columns['chosen']}}}"
    return DataError(
        "the data holds pairs of answers (chosen, rejected), and the recipe does not say what to make of them",
        place=place,
        hint=f"to learn which is better: finetune: {{prefer: {{}}}}; to learn the chosen answers only: {only}",
    )


def _nothing_to_compare(form: Format, place: str) -> DataError:
    return DataError(
        f"finetune.prefer needs a chosen and a rejected answer, and the data is in the form {form.name}",
        place=place,
        hint="name the columns: data.columns: {prompt: …, chosen: …, rejected: …}, or leave finetune.prefer out",
    )


def _pair_hint(task: str) -> str:
    """What a task of pairs can be given, or which task takes pairs."""
    if task not in PAIR_TASKS:
        return "write task: embed, or task: rank"
    return "one of " + "; or ".join(", ".join(PAIR_FORMATS[name][0]) for name in FORMATS_OF[task])


def _require_known_parts(mapped: Mapping[str, str], formats: Formats, place: str) -> None:
    known = {part for required, optional in formats.values() for part in (*required, *optional)}
    for part in mapped:
        if part not in known:
            raise DataError(f'data.columns has no part "{part}"', place=place, hint=did_you_mean(part, known))


def _column(part: str, found: list[str], mapped: Mapping[str, str], form: str) -> str | None:
    if part in mapped:
        return mapped[part]
    others = PAIR_NAMES.get(form, _OTHER_NAMES)
    names = (part, *others.get(part, ()))
    lowered = {column.casefold(): column for column in reversed(found)}
    return next((lowered[name] for name in names if name in lowered), None)


def _nothing_fits(found: list[str], formats: Formats, place: str) -> DataError:
    refuse_undirected(found, place)
    ordered = sorted(formats, key=lambda name: name in PAIR_FORMATS)
    wanted = " or ".join(" and ".join(formats[name][0]) for name in ordered)
    lowered = {column.casefold() for column in found}
    if set(formats) <= set(PAIR_FORMATS):
        first = formats[ordered[0]][0] if len(formats) == 1 else ("query", "positive")
        named = ", ".join(f"{part}: …" for part in first)
        hint = f"say which columns to use: data.columns: {{{named}}}"
        return DataError(f"no columns for {wanted}; found: {_listed(found)}", place=place, hint=hint)
    for columns, words, hint in _KNOWN_BUT_UNUSED:
        if lowered.issuperset(columns):
            return DataError(f"{words}; found: {_listed(found)}", place=place, hint=hint)
    refuse_aligned(found, place)
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
    content = turn.get("content", turn.get("value"))
    if known in CALLING:
        return calling_turn("", content)
    if calls := turn.get("tool_calls") or turn.get("function_call"):
        return calling_turn(_content(content), calls)
    if known in RETURNING:
        return returning_turn(_content(content) if isinstance(content, list) else content)
    if known not in _ROLES:
        raise Unfit("unknown_role", "a turn whose role is none of system, user, assistant")
    return Message(role=_ROLES[known], content=_content(content))


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


def _from_texts(parts: Mapping[str, object], *, source: str, target: str) -> list[Message]:
    return [
        Message(role="user", content=_text(parts[source], source)),
        Message(role="assistant", content=_text(parts[target], target)),
    ]


def _from_preference(parts: Mapping[str, object]) -> list[Message]:
    """The conversation, the chosen answer and, last of all, the rejected one.

    Answers are texts, turns, or lists of turns as TRL has them: whole conversations that share their beginning, or only
    what comes after the prompt.
    """
    chosen, rejected = (_answer_turns(parts[part], part) for part in ("chosen", "rejected"))
    num_shared = next((at for at, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), None)
    if num_shared is None:  # one is all of the other
        num_shared = max(0, min(len(chosen), len(rejected)) - 1)
    shared, chosen, rejected = chosen[:num_shared], chosen[num_shared:], rejected[num_shared:]
    if [turn["role"] for turn in (*chosen, *rejected)] != ["assistant", "assistant"]:
        raise Unfit("long_pair", "after what they share, each of chosen and rejected must be one answer")
    is_whole = any(turn["role"] == "user" for turn in shared)
    return [*([] if is_whole else _asked(parts)), *shared, *chosen, *rejected]


def _answer_turns(value: object, part: str) -> list[Message]:
    if isinstance(value, dict):
        return [_turn(value)]
    if isinstance(value, list) or (isinstance(value, str) and value.lstrip().startswith('[{"')):
        return [_turn(turn) for turn in _list(value, part)]
    return [Message(role="assistant", content=_text(value, part))]


def _asked(parts: Mapping[str, object]) -> list[Message]:
    """What stands before the two answers, in whichever form it comes."""
    if parts.get("instruction") is not None:
        return _from_alpaca({**parts, "output": ""})[:-1]
    if parts.get("messages") or parts.get("conversations"):
        return _from_turns(parts)
    prompt = parts.get("prompt")
    if isinstance(prompt, list):
        return [_turn(turn) for turn in prompt]
    return [Message(role="user", content=_text(prompt, "prompt"))]


def _require_preferred(turns: list[Message], rejected: str) -> None:
    """The rest of what a pair needs, once its chosen answer is known to be one."""
    if not rejected.strip():
        raise Unfit("no_rejected", "the rejected answer is empty")
    if turns[-1]["content"].strip() == rejected.strip():
        raise Unfit("same_answers", "the chosen and the rejected answer are the same")


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
    spoken = [turn for turn in turns if turn["role"] not in BEFORE_SPEAKING]
    if spoken[0]["role"] != "user":
        raise Unfit("no_question", "the conversation does not begin with a question")
    if not all(turn["content"].strip() for turn in spoken):
        raise Unfit("empty_turn", "a turn before the last holds nothing")
    if any(turn["role"] == "system" for turn in turns[1:]):
        raise Unfit("late_system", "a system turn stands after the first turn")


_READERS: dict[str, Callable[[Mapping[str, object]], list[Message]]] = {
    PREFERENCE: _from_preference,
    "messages": _from_turns,
    "sharegpt": _from_turns,
    "alpaca": _from_alpaca,
    "prompt_completion": _from_pair,
    "squad": _from_squad,
    "translation": partial(_from_texts, source="source", target="target"),
    "pair": partial(_from_texts, source="source", target="target"),
    "summary": partial(_from_texts, source="document", target="summary"),
}
