"""A prediction: what is asked of a saved model, what it answers, and the line that is said of it.

What does not live here: the models themselves (`stages/answering/predictors.py`), files and sockets. The invariant: the
command and the server take their lines from `lines_of`, so that both say the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from setsail.base.errors import UserError

Line = dict[str, Any]
Fields = Mapping[str, Any]  # the columns of a question

EVERY = "probabilities"  # what a line says only where it is asked for
_DIGITS = 6


@dataclass(frozen=True)
class Question:
    """A question as its predictor reads it; `fields` are repeated in the answer's line."""

    fields: Fields
    read: Any


@dataclass(frozen=True)
class Answer:
    """What is said of one question, the tokens that were read for it, and by what a ranker orders."""

    fields: Fields
    said: Mapping[str, Any]
    num_tokens: int
    logit: float = 0.0

    @property
    def is_cut(self) -> bool:
        """Whether the end of the question did not fit the context."""
        return self.said.get("cut") is True

    def line(self, *, every: bool = False) -> Line:
        """The question's columns and what is said, in JSON's terms; with `every` the probability of each label."""
        return {**self.fields, **{name: rounded(value) for name, value in self.said.items() if every or name != EVERY}}


class Predictor(Protocol):
    """A saved model that answers questions, `at_once` of them together; used by one thread at a time.

    `inputs` are the columns that a question has. With `orders` the answers are put in order, the best first.
    """

    @property
    def task(self) -> str: ...
    @property
    def inputs(self) -> tuple[str, ...]: ...
    @property
    def context(self) -> int: ...
    @property
    def at_once(self) -> int: ...
    @property
    def orders(self) -> bool: ...

    def question(self, fields: Fields) -> Question:
        """The columns, all there, as the model reads them. Raises: UserError for what cannot be asked."""
        ...

    def answers(self, questions: Sequence[Question]) -> Sequence[Answer]:
        """An answer for each question, in their order. Raises: UserError where one does not fit the context at all."""
        ...


def question_of(predictor: Predictor, asked: str | Fields) -> Question:
    """The question that a text, or a mapping with the columns of the task, asks.

    Raises:
        UserError: a column is missing, empty or of a wrong kind; or a name does not stand in the text.
    """
    fields: Fields = {"text": asked} if isinstance(asked, str) else asked
    missing = [name for name in predictor.inputs if name not in fields]
    if missing:
        wanted = " and ".join(predictor.inputs)
        raise UserError(f"task {predictor.task} asks for {wanted}; there is no {missing[0]}")
    return predictor.question(fields)


def example_of(predictor: Predictor) -> str:
    """A question of the task as JSON, its texts left open: what a refusal hints at."""
    return "{" + ", ".join(f'"{name}": …' for name in predictor.inputs) + "}"


def answers_of(predictor: Predictor, questions: Sequence[Question]) -> Iterator[Answer]:
    """The answers in the order of the questions, as they are ready."""
    for start in range(0, len(questions), predictor.at_once):
        yield from predictor.answers(questions[start : start + predictor.at_once])


def in_order(predictor: Predictor, answers: Iterable[Answer]) -> Iterable[Answer]:
    """The answers as they are said: those of a ranker the best first."""
    return sorted(answers, key=lambda answer: -answer.logit) if predictor.orders else answers


def lines_of(predictor: Predictor, answers: Iterable[Answer], *, every: bool = False) -> Iterator[Line]:
    """The lines that are said, as the answers come; those of a ranker when all are there."""
    return (answer.line(every=every) for answer in in_order(predictor, answers))


def written_line(fields: Fields, output: str, *, stopped: bool) -> Line:
    """What a model that writes says: the text, and whether it would have gone on."""
    return {**fields, "output": output, **({} if stopped else {"unfinished": True})}


def filled_text(fields: Fields, name: str = "text") -> str:
    """A column's text. Raises: UserError where it is empty, or no text."""
    value = fields[name]
    if not isinstance(value, str):
        raise UserError(f"{name} is a {type(value).__name__} where text was expected")
    if not value.strip():
        raise UserError(f"{name} is empty")
    return value


def rounded(value: Any) -> Any:
    """JSON's value with six digits behind the point.

    >>> rounded({"score": 0.123456789, "spans": [{"start": 3}]})
    {'score': 0.123457, 'spans': [{'start': 3}]}
    """
    if isinstance(value, float):
        return round(value, _DIGITS)
    if isinstance(value, Mapping):
        return {name: rounded(each) for name, each in value.items()}
    return [rounded(each) for each in value] if isinstance(value, list) else value
