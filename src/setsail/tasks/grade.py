"""Grade: answers, each beside what it is held against, of which a number is learned: a grade.

What an answer is held against is its rubric: criteria, a model answer, or the question alone. Rubric and answer are
read together, the rubric first; with `cut` the answer loses its end. Scores are learned as in `regress`.
"""

from __future__ import annotations

from dataclasses import replace

from setsail.tasks import regress
from setsail.tasks.reading import example_of, whole
from setsail.tasks.task import Dropped, Overlong, Row
from setsail.tokens.pack import Example
from setsail.tokens.tokenizer import Tokenizer


def texts(row: Row) -> tuple[str, ...]:
    """The rubric and the answer."""
    return tuple(message["content"] for message in row.messages)


def example(row: Row, tokenizer: Tokenizer, context: int, overlong: Overlong) -> tuple[Example, ...] | Dropped:
    """The one example of an answer, or why there is none."""
    read = whole(texts(row), row, tokenizer, context, overlong)
    if isinstance(read, Dropped):
        return read
    encoded, change = read
    return (example_of(encoded, row, change, row.target, marks=True),)


def prompt(row: Row, tokenizer: Tokenizer) -> list[int]:
    """Rubric and answer as they are read."""
    return list(tokenizer.read(*texts(row)).ids)


TASK = replace(regress.TASK, name="grade", example=example, prompt=prompt)
READING = replace(regress.READING, inputs=("rubric", "text"), texts=texts)
