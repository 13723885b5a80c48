"""A saved encoder that gives vectors, and a ranker, as what answers questions.

No torch here: the encoders are torch's (`predictors.py`) or onnxruntime's (`onnx_predictors.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from setsail.stages.answering.predictor import TEXTS_AT_ONCE
from setsail.tasks.prediction import Answer, Fields, Question, filled_text


class Embeds(Protocol):
    """What gives vectors of texts; `Embedder` and `OnnxEmbedder` do."""

    @property
    def context(self) -> int: ...
    def ids(self, text: str) -> list[int]: ...
    def vectors(self, texts: Sequence[str], *, at_once: int = ...) -> Any: ...


class Ranks(Protocol):
    """What scores a text for a query; `PlainRanker` and `OnnxRanker` do."""

    @property
    def context(self) -> int: ...
    def ids(self, pair: tuple[str, str]) -> list[int]: ...
    def logits(self, pairs: Sequence[tuple[str, str]], *, at_once: int = ...) -> Any: ...


@dataclass(frozen=True)
class EmbeddingPredictor:
    """An encoder that gives a text its vector."""

    embedder: Embeds
    task: str = "embed"
    inputs: tuple[str, ...] = ("text",)
    at_once: int = TEXTS_AT_ONCE
    orders: bool = False

    @property
    def context(self) -> int:
        return self.embedder.context

    def question(self, fields: Fields) -> Question:
        return Question(fields, filled_text(fields))

    def answers(self, questions: Sequence[Question]) -> Sequence[Answer]:
        vectors = self.embedder.vectors([question.read for question in questions], at_once=self.at_once)
        found = []
        for question, vector in zip(questions, vectors.tolist(), strict=True):
            num_tokens = len(self.embedder.ids(question.read))
            cut = {"cut": True} if num_tokens > self.context else {}
            found.append(Answer(question.fields, {"vector": vector, **cut}, min(num_tokens, self.context)))
        return found


@dataclass(frozen=True)
class RankingPredictor:
    """A ranker that scores a text for a query."""

    ranker: Ranks
    task: str = "rank"
    inputs: tuple[str, ...] = ("query", "text")
    at_once: int = TEXTS_AT_ONCE
    orders: bool = True

    @property
    def context(self) -> int:
        return self.ranker.context

    def question(self, fields: Fields) -> Question:
        pair = filled_text(fields, "query"), filled_text(fields)
        return Question({name: value for name, value in fields.items() if name != "query"}, pair)

    def answers(self, questions: Sequence[Question]) -> Sequence[Answer]:
        logits = self.ranker.logits([question.read for question in questions], at_once=self.at_once)
        found = []
        for question, logit in zip(questions, logits.tolist(), strict=True):
            num_tokens = len(self.ranker.ids(question.read))
            cut = {"cut": True} if num_tokens > self.context else {}
            said = {"score": 1 / (1 + math.exp(-logit)), **cut}
            found.append(Answer(question.fields, said, min(num_tokens, self.context), logit))
        return found
