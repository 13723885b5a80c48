"""Predictors without a model: quick, exact, and they remember the batches in which they were asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from setsail.base.errors import UserError
from setsail.tasks.prediction import Answer, Fields, Question, filled_text

DOES = {
    "classify": "a classifier: it gives a text a label",
    "embed": "an encoder: it gives a text a vector",
    "rank": "a ranker: it scores texts for a query",
    "relate": "an encoder: it says how two names have to do with one another",
}
INPUTS = {"rank": ("query", "text"), "relate": ("text", "head", "tail")}


@dataclass
class ToyPredictor:
    """Its label is a text's last word, its vector counts two letters, a text's score is the words of the query in it.

    A text with the word "bad" is a fault, one with "huge" does not fit. It waits for `open` before each batch; `asked`
    says that one has come.
    """

    task: str = "classify"
    context: int = 8
    at_once: int = 4
    seconds: float = 0.0
    batches: list[list[str]] = field(default_factory=list)
    open: threading.Event = field(default_factory=threading.Event)
    asked: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.open.set()

    @property
    def inputs(self) -> tuple[str, ...]:
        return INPUTS.get(self.task, ("text",))

    @property
    def orders(self) -> bool:
        return self.task == "rank"

    def question(self, fields: Fields) -> Question:
        texts = [filled_text(fields, name) for name in self.inputs]
        return Question({name: value for name, value in fields.items() if name != "query"}, texts)

    def answers(self, questions: Sequence[Question]) -> Sequence[Answer]:
        self.asked.set()
        self.open.wait()
        time.sleep(self.seconds)
        self.batches.append([question.read[-1] for question in questions])
        return [self._answer(question) for question in questions]

    def _answer(self, question: Question) -> Answer:
        words = " ".join(question.read).split()
        if "bad" in words:
            raise ZeroDivisionError("planted-prompt")
        if "huge" in words:
            raise UserError("the question fills the context")
        said, logit = self._said(words, question)
        cut = {"cut": True} if len(words) > self.context else {}
        return Answer(question.fields, {**said, **cut}, min(len(words), self.context), logit)

    def _said(self, words: list[str], question: Question) -> tuple[dict[str, Any], float]:
        if self.task == "embed":
            vector = [1.0 + words[0].count("a"), 1.0 + words[0].count("b")]
            length = sum(value**2 for value in vector) ** 0.5
            return {"vector": [value / length for value in vector]}, 0.0
        if self.task == "rank":
            query, text = question.read
            logit = float(len(set(query.split()) & set(text.split())))
            return {"score": logit / 10}, logit
        return {"label": words[-1], "probability": 1 / 3, "probabilities": {words[-1]: 1 / 3}}, 0.0
