"""What is said of the log of answers in a terminal: a line for an answer, a whole one, and what was counted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from setsail.serve.feedback.folder import Account
from setsail.serve.feedback.record import Answered
from setsail.serve.feedback.standing import Standing
from setsail.stages.feedback.rows import Rows

_SHOWN_ID = 14
_SHOWN_TEXT = 60
_MARKS = {"up": "+", "down": "-"}


def account_words(account: Account) -> Iterator[str]:
    """What of the log could not be read, a line each; nothing where all could."""
    if account.num_damaged:
        yield f"{account.num_damaged} records are damaged: changed, moved or cut out since they were written"
    if account.num_torn:
        yield f"{account.num_torn} files end in a torn record: their writer was killed, or they were cut"
    if account.num_under_another_key:
        yield f"{account.num_under_another_key} files need another key, and are not read"
    if account.num_unknown:
        yield f"{account.num_unknown} files are no files of this log, or of a newer version"
    if account.num_unclosed:
        yield f"{account.num_unclosed} files have no end mark: a server writes them now, or was killed"


def rows_words(made: Rows) -> Iterator[str]:
    """What became of the answers, a line each."""
    yield f"{len(made.rows)} rows"
    for lineage, number in made.by_lineage.most_common():
        yield f"{number} of them are the words of the model {lineage}, approved: who learns them learns from itself"
    if made.num_merged:
        yield f"{made.num_merged} equal others, or begin a longer conversation, and are merged"
    for reason, number in made.left_out.most_common():
        yield f"{number} left out: {reason}"


def line_of(standing: Standing, record: Answered) -> str:
    """One answer on one line."""
    mark = _MARKS[standing.rated.rating] if standing.rated else " "
    proposed = "*" if standing.rated and standing.rated.correction else " "
    asked, said = shown(asked_words(record)), shown(said_words(record))
    return f"{standing.id[-_SHOWN_ID:]}  {standing.time[:16]}  {mark}{proposed} {asked}  →  {said}"


def asked_words(record: Answered) -> str:
    """What was asked last, as text."""
    if "messages" in record.asked:
        return record.asked["messages"][-1].get("content") or ""
    values = [value for name, value in record.asked.items() if name != "system"]
    return _as_text(values[0] if len(values) == 1 else {n: v for n, v in record.asked.items() if n != "system"})


def said_words(record: Answered) -> str:
    """What was answered, as text."""
    said = dict(record.said)
    text = said.pop("content", said.pop("output", None))
    rest = {name: value for name, value in said.items() if value not in (None, False)}
    return " ".join([*([text] if text else []), *([_as_text(rest)] if rest else [])])


def conversation_words(standing: Standing, record: Answered) -> Iterator[str]:
    """A whole answer with all that was asked and said of it, a line or more each."""
    yield f"{standing.id}  {standing.time[:16]}  {record.model} {record.lineage}"
    for turn in record.asked.get("messages", ()):
        calls = [_as_text(call.get("function")) for call in turn.get("tool_calls", ())]
        yield f"  {turn['role']}: {printable(' '.join([turn.get('content') or '', *calls]))}"
    if "messages" not in record.asked:
        yield f"  asked: {printable(asked_words(record))}"
    cut = "  [cut off]" if record.finish_reason == "length" else ""
    yield f"  answer: {printable(said_words(record))}{cut}"
    if standing.rated is not None:
        rated = standing.rated
        yield f"  rated {rated.rating}" + (f": {printable(rated.comment)}" if rated.comment else "")
        if rated.correction:
            yield f"  the client's correction: {printable(rated.correction)}"


def shown(text: str) -> str:
    """A text on one line, cut short."""
    line = " ".join(printable(text).split())
    return line if len(line) <= _SHOWN_TEXT else line[:_SHOWN_TEXT] + "…"


def printable(text: str) -> str:
    """A text without what would drive a terminal: control characters but line breaks and tabs are escaped.

    >>> printable("a\\x1b[31m")
    'a\\\\x1b[31m'
    """
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
