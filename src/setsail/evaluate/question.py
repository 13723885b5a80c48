"""What is asked of a system: a row cut into its prompt and the answer that a person gave.

One cut for every system and the baseline, so that all are asked the same. Not here: rendering to tokens.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable
from dataclasses import dataclass

from setsail.base.errors import DataError
from setsail.data.row import BEFORE_SPEAKING, Message, Row


@dataclass(frozen=True)
class Question:
    """The messages before a row's last answer, and that answer."""

    row_id: str
    group: str
    prompt: tuple[Message, ...]
    reference: str


def question_of(row: Row) -> Question:
    """The row's last assistant message as the reference, everything before it as the prompt.

    Raises: DataError if the row has no answer to compare with.
    """
    answers = [index for index, message in enumerate(row.messages) if message["role"] == "assistant"]
    if not answers:
        raise DataError("a test row has no answer to compare with", place=row.origin, hint="prepare the data again")
    last = answers[-1]
    return Question(row.id, row.group, row.messages[:last], row.messages[last]["content"])


def question_text(prompt: Iterable[Message]) -> str:
    """What the person asked, as one text: all but system prompt and tools, which say nothing about this question."""
    return "\n".join(message["content"] for message in prompt if message["role"] not in BEFORE_SPEAKING)


def answer_bytes(row: Row) -> int:
    """UTF-8 bytes of the text that training supervises: every assistant message of a chat, or the whole text."""
    if not row.messages:
        return len(row.text.encode())
    return sum(len(message["content"].encode()) for message in row.messages if message["role"] == "assistant")


def choose_rows(rows: Iterable[Row], max_rows: int, *, seed: int) -> list[Row]:
    """At most `max_rows` rows, in their order; which ones depends only on their ids and the seed."""

    def lot(numbered: tuple[int, Row]) -> str:
        return hashlib.sha256(f"{seed}:{numbered[1].id}".encode()).hexdigest()

    chosen = heapq.nsmallest(max_rows, enumerate(rows), key=lot)
    return [row for _, row in sorted(chosen, key=lambda numbered: numbered[0])]
