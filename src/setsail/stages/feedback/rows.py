"""Training rows from reviewed answers: each in a form that the data room reads, and held against it before it is given.

The invariant: every answer of the log becomes a row or is counted with the reason why not, and each row says which
answer it was, of which model, and whether a person wrote its words.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from setsail.base.errors import DataError
from setsail.base.recipe import Recipe
from setsail.base.recipe_pairs import WRITING_TASKS
from setsail.base.recipe_prefer import PREFERENCE
from setsail.data.formats import for_task, recognise, to_row
from setsail.data.row import Drop, Record, Unfit
from setsail.serve.feedback.record import Answered, Json
from setsail.serve.feedback.standing import Review, Standing

APPROVED, CORRECTED, REJECTED = "approved", "corrected", "rejected"
# What says where a row is from; the data room reads none of these.
ORIGIN = ("answer_id", "lineage", "review", "answered")


@dataclass(frozen=True)
class Rows:
    """Rows, how many answers left none and why, how many were equal to others, and whose words they are.

    `by_lineage` counts the rows whose words a model wrote, by its lineage; in the others a person did.
    """

    rows: list[Json]
    left_out: Counter[str] = field(default_factory=Counter)
    num_merged: int = 0
    by_lineage: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> Json:
        counts = {"rows": len(self.rows), "merged": self.num_merged}
        return {**counts, "left_out": dict(self.left_out), "written_by": dict(self.by_lineage)}


def rows_of(review: Review, recipe: Recipe, *, preferences: bool = False) -> Rows:
    """The rows of all answers of a review; with `preferences`, pairs of what was corrected and what was answered."""
    found: list[Json] = []
    left_out: Counter[str] = Counter()
    refused: set[str] = set()
    for standing, record in review.texts():
        if record is None:
            left_out["is no longer where it was: the log was changed meanwhile, so export again"] += 1
            continue
        if standing.state in (REJECTED, CORRECTED) and "messages" in record.asked:
            refused.add(_key(_conversation(record, None), record.asked.get("tools")))
        try:
            row = _pair(standing, record, recipe) if preferences else _row(standing, record, recipe)
        except Unfit as unfit:
            left_out[unfit.reason] += 1
            continue
        origin = (standing.id, record.lineage, standing.state, record.time)
        found.append(row | dict(zip(ORIGIN, origin, strict=True)))
    sound = [row for row in found if not refused & _earlier(row)]
    if len(sound) < len(found):
        left_out["holds an earlier answer that was rejected or corrected"] += len(found) - len(sound)
    rows = _merged(sound)
    by_lineage = Counter(row["lineage"] for row in rows if row["review"] == APPROVED)
    return Rows(rows, left_out, len(sound) - len(rows), by_lineage)


def row_of(record: Answered, correction: str | None, recipe: Recipe) -> Json:
    """The row of an answer as it is, or as it was corrected. Raises: Unfit, whose reason is for people."""
    if record.task != recipe.task:
        raise Unfit(f"was given by a model of task {record.task}")
    if correction is None and record.finish_reason == "length":
        raise Unfit("was cut off, and nothing says how it goes on")
    return _fitting(_columns(record, correction), recipe, recipe.task)


def as_correction(record: Answered) -> str:
    """What was answered, in the form in which a correction is written."""
    said = record.said
    if record.task == "tag":
        return json.dumps(_spans({"text": ""}, said, None)["spans"], ensure_ascii=False)
    names = ("output", "content", "labels", "label", "score", "relation", "answer")
    value = next((said[name] for name in names if name in said), "")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _row(standing: Standing, record: Answered, recipe: Recipe) -> Json:
    """Raises: Unfit, whose reason is for people."""
    if standing.decided is None:
        raise Unfit("waits for review")
    if standing.state not in (APPROVED, CORRECTED):
        raise Unfit("rejected")
    correction = standing.decided.correction if standing.state == CORRECTED else None
    return row_of(record, correction, recipe)


def _pair(standing: Standing, record: Answered, recipe: Recipe) -> Json:
    """Raises: Unfit, whose reason is for people."""
    if standing.decided is None or standing.state != CORRECTED:
        raise Unfit("was not corrected")
    if record.finish_reason == "length":
        raise Unfit("was cut off: how it ends cannot be compared")
    if "messages" not in record.asked and record.path != "/predict":
        raise Unfit("is a plain completion, no conversation")
    *prompt, answer = _conversation(record, None)
    chosen = {"role": "assistant", "content": standing.decided.correction}
    tools = {"tools": record.asked["tools"]} if "tools" in record.asked else {}
    return _fitting({"prompt": prompt, "chosen": [chosen], "rejected": [answer], **tools}, recipe, PREFERENCE)


def _fitting(row: Json, recipe: Recipe, task: str) -> Json:
    """The row as the recipe's own source would have its columns. Raises: Unfit where the data room drops it."""
    columns = {} if task in ("chat", PREFERENCE) else recipe.data.columns
    row = {columns.get(name, name): value for name, value in row.items()}
    try:
        form = for_task(recognise(row, columns=columns, task=task), task, "the log of answers")
    except DataError as error:
        raise Unfit(error.message) from error
    made = to_row(Record("answer", row), form, system=recipe.data.system)
    if isinstance(made, Drop):
        reason = made.reason.replace("_", " ")
        raise Unfit(f"{reason} ({made.detail})" if made.detail else reason)
    return row


def _columns(record: Answered, correction: str | None) -> Json:
    """The parts of a row, by the task. Raises: Unfit."""
    if record.task == "chat":
        if "prompt" in record.asked:
            raise Unfit("is a plain completion, no conversation")
        tools = {"tools": record.asked["tools"]} if "tools" in record.asked else {}
        return {"messages": _conversation(record, correction), **tools}
    written = record.said.get("output", record.said.get("content", "")) if correction is None else correction
    if record.task == "text":
        if "messages" in record.asked:
            raise Unfit("is a conversation, and the task is text")
        return {"text": record.asked.get("prompt", record.asked.get("text", "")) + written}
    if record.task in WRITING_TASKS:
        return {"source": _source(record), "target": written}
    return _READ[record.task](record.asked, record.said, correction)


def _conversation(record: Answered, correction: str | None) -> list[Json]:
    """What was asked, and the answer as its last turn."""
    if "messages" in record.asked:
        asked = list(record.asked["messages"])
    else:
        system = record.asked.get("system")
        asked = [{"role": "system", "content": system}] if system else []
        asked.append({"role": "user", "content": record.asked["text"]})
    content = record.said.get("output", record.said.get("content", ""))
    calls = {"tool_calls": record.said["tool_calls"]} if "tool_calls" in record.said else {}
    said = {"content": content, **calls} if correction is None else {"content": correction}
    return [*asked, {"role": "assistant", **said}]


def _source(record: Answered) -> str:
    """The one text that a model was asked to write another one for. Raises: Unfit."""
    if "messages" not in record.asked:
        return record.asked.get("prompt", record.asked.get("text", ""))
    turns = [turn for turn in record.asked["messages"] if turn["role"] != "system"]
    if len(turns) != 1:
        raise Unfit("is a conversation of several turns, and the task asks for one text")
    return turns[0]["content"]


def _said(said: Json, name: str, correction: str | None) -> Any:
    return said.get(name) if correction is None else correction


def _label(asked: Json, said: Json, correction: str | None) -> Json:
    name = "labels" if "labels" in said else "label"
    return {"text": asked["text"], name: _said(said, name, correction)}


def _score(asked: Json, said: Json, correction: str | None) -> Json:
    return {**asked, "score": _said(said, "score", correction)}


def _spans(asked: Json, said: Json, correction: str | None) -> Json:
    """Spans as they were said; a correction is JSON."""
    if correction is None:
        spans = [[span["start"], span["end"], span["label"]] for span in said["spans"]]
        return {"text": asked["text"], "spans": spans}
    try:
        return {"text": asked["text"], "spans": json.loads(correction)}
    except (ValueError, RecursionError):
        raise Unfit('marked parts are corrected by JSON: [[0, 3, "PER"]]') from None


def _relation(asked: Json, said: Json, correction: str | None) -> Json:
    return {**asked, "relation": _said(said, "relation", correction)}


def _found(asked: Json, said: Json, correction: str | None) -> Json:
    """The answer where it was found; `[]` corrects it to none."""
    if correction is None:
        answers: Any = {"text": [said["answer"]], "answer_start": [said["start"]]} if said["answer"] else []
    else:
        answers = [] if correction.strip() == "[]" else [correction]
    return {**asked, "answers": answers}


def _alike(asked: Json, said: Json, correction: str | None) -> Json:
    if correction is None:
        raise Unfit("has a vector, which is no row: correct it by a text that means the same")
    return {"query": asked["text"], "positive": correction}


def _graded(asked: Json, said: Json, correction: str | None) -> Json:
    if correction is None:
        raise Unfit("has a score that only orders: correct it by its grade")
    return {"query": asked["query"], "text": asked["text"], "label": correction}


_READ: Mapping[str, Callable[[Json, Json, str | None], Json]] = {
    "classify": _label,
    "regress": _score,
    "grade": _score,
    "tag": _spans,
    "relate": _relation,
    "answer": _found,
    "embed": _alike,
    "rank": _graded,
}


def _merged(rows: Sequence[Json]) -> list[Json]:
    """The first of equal rows; a conversation that is the beginning of a longer one stands in that."""
    first: dict[str, Json] = {}
    for row in rows:
        first.setdefault(_content(row), row)
    begun = {key for row in first.values() for key in _earlier(row)}
    return [
        row for row in first.values() if "messages" not in row or _key(row["messages"], row.get("tools")) not in begun
    ]


def _earlier(row: Json) -> set[str]:
    """The shorter conversations that a conversation begins with, each up to an answer."""
    turns = row.get("messages", row.get("prompt", ()))
    ends = (end for end in range(1, len(turns)) if isinstance(turns, list) and turns[end - 1]["role"] == "assistant")
    return {_key(turns[:end], row.get("tools")) for end in ends}


def _content(row: Json) -> str:
    return json.dumps({name: each for name, each in row.items() if name not in ORIGIN}, sort_keys=True)


def _key(turns: Sequence[Json], tools: Any) -> str:
    """A conversation without what clients lose when they send an answer back: the ids of calls."""
    plain = [[turn["role"], turn.get("content") or "", _calls(turn)] for turn in turns]
    return json.dumps([plain, tools], sort_keys=True)


def _calls(turn: Json) -> list[Any]:
    return [call.get("function") for call in turn.get("tool_calls", ())]
