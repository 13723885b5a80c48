"""What columns mean to the tasks that read a text and say something of it: scores, several labels, marked spans,
relations between two of them, and answers that stand in a context.

What does not live here: finding the columns (`formats.py`). The invariant: a row's spans lie inside its last text, hold
something, and are called something.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from setsail.base.target import HEAD, TAIL, Span, of_labels, of_score, of_spans
from setsail.data.row import Message, Row, Unfit

# The forms that rows of a task may have, each with the parts that must be there and those that may be.
READ_FORMATS: dict[str, dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "classify": {"text_labels": (("text", "labels"), ())},
    "regress": {"text_score": (("text", "score"), ()), "scored_lines": (("text",), ())},
    "grade": {"graded_text": (("rubric", "text", "score"), ())},
    "tag": {
        "text_spans": (("text", "spans"), ()),
        "tokens_tags": (("tokens", "tags"), ()),
        "words_pos": (("text",), ()),
    },
    "relate": {"text_relation": (("text", "head", "tail", "relation"), ())},
    "answer": {"squad": (("question", "context", "answers"), ())},
}
# Other names that their parts go by.
READ_NAMES = {
    "score": ("rating", "stars", "grade", "value", "label", "分数", "评分", "得分"),
    "rubric": ("criteria", "reference", "question", "prompt", "评分标准", "参考答案", "题目"),
    "spans": ("entities", "ents", "实体"),
    "tags": ("ner_tags", "labels"),
    "head": ("subject", "主语", "头实体"),
    "tail": ("object", "宾语", "尾实体"),
    "relation": ("predicate", "label", "关系"),
}
BY_NAME_ALONE = ("words_pos", "scored_lines")  # whose columns are those of any text: the recipe says so, or it is not
SPAN_TASKS = ("tag", "relate", "answer")
ANSWER = "answer"

_SEPARATORS = re.compile(r"\s*[|;；、]\s*")
_WORD_POS = re.compile(r"\[?(?P<word>[^\s/]+)/(?P<pos>[A-Za-z]+)(?:\](?P<whole>[A-Za-z]+))?")
# Source: the tag set of the People's Daily corpus of Peking University, 1998: nr, ns and nt are names.
_LONGEST_SURNAME = 2
_NAMES_BY_POS = {"nr": "PER", "ns": "LOC", "nt": "ORG"}


def read_row(form: str, parts: Mapping[str, Any], row: Row, *, no_answer: Sequence[str] = ()) -> Row:
    """The row with its texts and what is to be said of them. Texts of `no_answer` say that there is no answer.

    Raises:
        Unfit: the record holds nothing to learn from, and why.
    """
    if form == "squad":
        return _answered(parts, row, no_answer)
    return _READERS[form](parts, row)


def asked_row(task: str, fields: Mapping[str, Any]) -> Row:
    """The row of a question that nobody has answered yet: its texts, and what is marked in them.

    Raises:
        Unfit: a column is empty, or a name does not stand in the text.
    """
    row = Row("asked", (), "", "", "asked")
    if task == "relate":
        return _related({**fields, "relation": "?"}, row)
    if task == "grade":
        return _graded({**fields, "score": 0}, row)
    if task == "answer":
        return _answered({**fields, "answers": []}, row)
    return _with(row, text=_filled(fields["text"], "text"), target="")


def _scored(parts: Mapping[str, Any], row: Row) -> Row:
    value = parts["score"]
    try:
        score = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError):
        score = math.nan
    if value is None or value == "":
        raise Unfit("no_score", "the score is empty")
    if not math.isfinite(score):
        raise Unfit("no_score", f"the score is no number: {str(value)[:40]!r}")
    return _with(row, text=_filled(parts["text"], "text"), target=of_score(score))


def _graded(parts: Mapping[str, Any], row: Row) -> Row:
    """An answer and the rubric that it is held against."""
    scored = _scored(parts, row)
    texts = (
        Message(role="rubric", content=_filled(parts["rubric"], "rubric")),
        Message(role="text", content=scored.text),
    )
    return _with(row, messages=texts, target=scored.target)


def _of_scored_line(parts: Mapping[str, Any], row: Row) -> Row:
    """A line of the form text, tab, score; what stands behind a second tab is not read, as lexicons have it."""
    line = _filled(parts["text"], "text")
    text, tab, rest = line.partition("\t")
    if not tab:
        raise Unfit("no_score", f"no tab between a text and its score: {line[:40]!r}")
    return _scored({"text": text.strip(), "score": rest.partition("\t")[0].strip()}, row)


def _labelled(parts: Mapping[str, Any], row: Row) -> Row:
    value = _parsed(parts["labels"])
    if isinstance(value, str):
        value = [label for label in _SEPARATORS.split(value.strip()) if label]
    if value is None:
        value = []
    if not isinstance(value, list) or any(isinstance(each, list | dict) for each in value):
        raise Unfit("wrong_type", f"labels is a {type(value).__name__} where a list of labels was expected")
    labels = [" ".join(str(label).split()) for label in value]
    return _with(row, text=_filled(parts["text"], "text"), target=of_labels(filter(None, labels)))


def _marked(parts: Mapping[str, Any], row: Row) -> Row:
    text = _filled(parts["text"], "text")
    found = [_span(each, text) for each in _list(parts["spans"], "spans")]
    return _with(row, text=text, target=of_spans(_apart(found)))


def _of_tokens(parts: Mapping[str, Any], row: Row) -> Row:
    """Words with a tag each, B-PER, I-PER, O; joined by spaces, except between characters of scripts without them."""
    words, tags = ([str(each) for each in _list(parts[part], part)] for part in ("tokens", "tags"))
    if len(words) != len(tags):
        raise Unfit("bad_span", f"{len(words)} tokens and {len(tags)} tags")
    if not words:
        raise Unfit("empty_text")
    if all(tag.lstrip("-").isdigit() for tag in tags):
        raise Unfit("bad_span", "tags are numbers where names such as B-PER were expected")
    text, spans = "", []
    open_span: list[Any] = []
    for word, tag in zip(words, tags, strict=True):
        text += " " if text and _is_spaced(text[-1], word[:1]) else ""
        start, text = len(text), text + word
        position, _, label = tag.partition("-")
        goes_on = position in ("I", "E", "M") and open_span and open_span[2] == label
        if open_span and not goes_on:
            spans.append(Span(*open_span))
            open_span = []
        if goes_on:
            open_span[1] = len(text)
        elif label:
            open_span = [start, len(text), label]
    if open_span:
        spans.append(Span(*open_span))
    return _with(row, text=text, target=of_spans(spans))


def _of_words_with_pos(parts: Mapping[str, Any], row: Row) -> Row:
    """A line of the form word/pos word/pos, as newspapers of parts of speech have it; names become spans."""
    line = _filled(parts["text"], "text")
    text, spans, bracket = "", [], None
    for piece in line.split():
        found = _WORD_POS.fullmatch(piece)
        if not found:
            raise Unfit("bad_span", f"no word/pos: {piece[:40]!r}")
        bracket = len(text) if piece.startswith("[") and len(piece) > 1 else bracket
        start, text = len(text), text + found["word"]
        label = _NAMES_BY_POS.get(found["pos"])
        last = spans[-1] if spans else None
        if (
            label == "PER"
            and last is not None
            and last.label == "PER"
            and last.end == start
            and len(text[last.start : start]) <= _LONGEST_SURNAME
        ):
            spans[-1] = Span(last.start, len(text), label)  # surname and given name are two words
        elif label:
            spans.append(Span(start, len(text), label))
        if found["whole"] and bracket is not None:
            whole = _NAMES_BY_POS.get(found["whole"])
            if whole:
                spans = [*(span for span in spans if span.end <= bracket), Span(bracket, len(text), whole)]
            bracket = None
    if not text:
        raise Unfit("empty_text")
    return _with(row, text=text, target=of_spans(spans))


def _related(parts: Mapping[str, Any], row: Row) -> Row:
    text, relation = _filled(parts["text"], "text"), " ".join(str(parts["relation"] or "").split())
    if not relation:
        raise Unfit("no_label", "the relation is empty")
    head, tail = (_mention(parts[part], text, part) for part in (HEAD, TAIL))
    if max(head.start, tail.start) < min(head.end, tail.end):
        raise Unfit("bad_span", "head and tail overlap")
    same_text = hashlib.sha256(text.encode()).hexdigest()[:16]
    return _with(row, text=text, label=relation, target=of_spans([head, tail]), group=same_text)


def _answered(parts: Mapping[str, Any], row: Row, no_answer: Sequence[str] = ()) -> Row:
    """A question, its context, and where the answers stand; none stands for a question without an answer."""
    context, question = _filled(parts["context"], "context"), _filled(parts["question"], "question")
    answers = _parsed(parts["answers"])
    if isinstance(answers, dict):
        texts = _list(answers.get("text"), "answers")
        starts = _list(answers.get("answer_start"), "answers") or [None] * len(texts)
        answers = [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=False)]
    if isinstance(answers, str):  # one answer, whole
        answers = [answers] if answers.strip() else []
    given = [each for each in _list(answers, "answers") if each not in no_answer]
    spans = [_answer(each, context) for each in given]
    group = hashlib.sha256(context.encode()).hexdigest()[:16]
    texts = (Message(role="question", content=question), Message(role="context", content=context))
    return _with(row, messages=texts, target=of_spans(dict.fromkeys(spans)), group=group)


_READERS: dict[str, Callable[[Mapping[str, Any], Row], Row]] = {
    "text_score": _scored,
    "scored_lines": _of_scored_line,
    "graded_text": _graded,
    "text_labels": _labelled,
    "text_spans": _marked,
    "tokens_tags": _of_tokens,
    "words_pos": _of_words_with_pos,
    "text_relation": _related,
    "squad": _answered,
}


def _with(row: Row, *, group: str = "", **fields: Any) -> Row:
    """The row with these fields; what it brings as its group is kept."""
    return Row(
        row.id,
        fields.get("messages", ()),
        fields.get("text", ""),
        row.group or group,
        row.origin,
        fields.get("label", ""),
        target=fields["target"],
    )


def _answer(value: object, context: str) -> Span:
    text, start = (value.get("text"), value.get("answer_start")) if isinstance(value, dict) else (value, None)
    if not isinstance(text, str) or not text.strip():
        raise Unfit("bad_span", "an answer is empty; a question without an answer has no answers at all")
    if isinstance(start, int) and context[start : start + len(text)] == text:
        return Span(start, start + len(text), ANSWER)
    found = context.find(text)
    if found < 0 and not isinstance(start, int) and (spaced := _spaced_otherwise(text, context)):
        return spaced
    if found < 0 or (isinstance(start, int) and context.count(text) > 1):
        where = f" at {start}" if isinstance(start, int) else ""
        raise Unfit("answer_not_in_context", f"the answer does not stand in the context{where}: {text[:40]!r}")
    return Span(found, found + len(text), ANSWER)


def _spaced_otherwise(text: str, context: str) -> Span | None:
    """Where a text stands whose white space is not that of the context, as where one of them was cut into words."""
    places = [index for index, character in enumerate(context) if not character.isspace()]
    bare = "".join(context[index] for index in places)
    wanted = "".join(text.split())
    found = bare.find(wanted)
    return Span(places[found], places[found + len(wanted) - 1] + 1, ANSWER) if found >= 0 else None


def _mention(value: object, text: str, part: str) -> Span:
    """Where head or tail stands: a name that is found, or offsets, as a pair or a mapping with start and end."""
    value = _parsed(value)
    if isinstance(value, dict):
        value = [value["start"], value["end"]] if {"start", "end"} <= set(value) else value.get("name", value)
    if isinstance(value, str):
        found = text.find(value) if value.strip() else -1
        if found < 0:
            raise Unfit("unknown_entity", f"{part} does not stand in the text")
        return Span(found, found + len(value), part)
    if isinstance(value, list) and len(value) >= 2:
        return _checked(value[0], value[1], part, text)
    raise Unfit("wrong_type", f"{part} is a {type(value).__name__} where a name or [start, end] was expected")


def _span(value: object, text: str) -> Span:
    if isinstance(value, dict):
        label = value.get("label", value.get("type", value.get("entity_group")))
        if "start" not in value and isinstance(value.get("text"), str):
            found = text.find(value["text"])
            if found < 0:
                raise Unfit("unknown_entity", "a marked name does not stand in the text")
            return _checked(found, found + len(value["text"]), label, text)
        value = [value.get("start"), value.get("end"), label]
    if not isinstance(value, list) or len(value) != 3:
        raise Unfit("bad_span", "a span is [start, end, label] or has start, end and label")
    start, end, label = value
    return _checked(start, end, label, text)


def _checked(start: object, end: object, label: object, text: str) -> Span:
    if not isinstance(label, str) or not label.strip():
        raise Unfit("bad_span", "a span has no label")
    if isinstance(start, bool) or isinstance(end, bool) or not isinstance(start, int) or not isinstance(end, int):
        raise Unfit("bad_span", "a span begins and ends at whole numbers of characters")
    if not 0 <= start < end <= len(text):
        raise Unfit("bad_span", f"a span from {start} to {end} in a text of {len(text)} characters")
    if not text[start:end].strip():
        raise Unfit("bad_span", f"a span from {start} to {end} holds nothing")
    return Span(start, end, " ".join(label.split()))


def _apart(spans: Sequence[Span]) -> list[Span]:
    ordered = sorted(set(spans))
    for left, right in itertools.pairwise(ordered):
        if right.start < left.end:
            raise Unfit("bad_span", f"spans overlap: {left.start} to {left.end} and {right.start} to {right.end}")
    return ordered


def _filled(value: object, part: str) -> str:
    if value is not None and not isinstance(value, str):
        raise Unfit("wrong_type", f"{part} is a {type(value).__name__} where text was expected")
    if not value or not value.strip():
        raise Unfit("empty_text", "" if part == "text" else f"{part} is empty")
    return value


def _list(value: object, part: str) -> list[Any]:
    value = _parsed(value)
    if value is None or value == "":
        return []
    if isinstance(value, str):
        return value.split()
    if not isinstance(value, list):
        raise Unfit("wrong_type", f"{part} is a {type(value).__name__} where a list was expected")
    return value


def _parsed(value: object) -> object:
    """The list or mapping that a text of JSON holds, which is how a csv has them; anything else as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError) as error:
            raise Unfit("broken_json", "a list or mapping is not valid JSON") from error
    return value


def _is_spaced(left: str, right: str) -> bool:
    """Whether a space parts two characters: not in scripts that write without."""
    return not (left >= "\u2e80" and right >= "\u2e80")
