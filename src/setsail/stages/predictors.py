"""The predictor of each task whose answers are no conversation: what reads a text, embeds it, ranks it, writes for it.

What says something of a text stands in `predictor.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from setsail.base.artifact import Artifact
from setsail.base.device import device, move
from setsail.base.recipe import READING_TASKS, Recipe
from setsail.base.recipe_pairs import WRITING_TASKS
from setsail.base.run import Run
from setsail.models.embedder import Embedder, load_embedder
from setsail.models.plain_ranker import PlainRanker, load_ranker
from setsail.models.weights import read_json
from setsail.models.writer import Writer, load_writer
from setsail.stages.base import kind_of_base
from setsail.stages.predictor import TEXTS_AT_ONCE, predictor_of
from setsail.tasks.prediction import Answer, Fields, Predictor, Question, filled_text, written_line


@dataclass(frozen=True)
class EmbeddingPredictor:
    """An encoder that gives a text its vector."""

    embedder: Embedder
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
            num_tokens = len(self.embedder.tokenizer(question.read)["input_ids"])
            cut = {"cut": True} if num_tokens > self.context else {}
            found.append(Answer(question.fields, {"vector": vector, **cut}, min(num_tokens, self.context)))
        return found


@dataclass(frozen=True)
class RankingPredictor:
    """A ranker that scores a text for a query."""

    ranker: PlainRanker
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


@dataclass(frozen=True)
class WritingPredictor:
    """An encoder-decoder that writes a text for a text, no longer than `context` tokens.

    `overlong` says that a source alone is as long as what was trained on; an encoder-decoder reads it all the same.
    """

    writer: Writer
    task: str
    context: int
    inputs: tuple[str, ...] = ("text",)
    at_once: int = 16
    orders: bool = False

    def question(self, fields: Fields) -> Question:
        return Question(fields, filled_text(fields))

    def answers(self, questions: Sequence[Question]) -> Sequence[Answer]:
        texts = [question.read for question in questions]
        written = self.writer.write(texts, max_new_tokens=self.context, at_once=self.at_once)
        found = []
        for question, (output, each) in zip(questions, written, strict=True):
            num_tokens = len(self.writer.ids(question.read))
            more = {"overlong": True} if num_tokens >= self.context else {}
            said = {**written_line({}, output, stopped=each.stopped), **more}
            found.append(Answer(question.fields, said, num_tokens))
        return found


def load_predictor(run: Run, recipe: Recipe) -> Predictor:
    """The saved model of a run of these tasks, on the device."""
    if recipe.task in WRITING_TASKS:
        writer = load_writer(run.artifact("merged").path)
        move(writer.model, device())
        return WritingPredictor(writer, recipe.task, recipe.training.context)
    return PREDICTORS[recipe.task](run.artifact("finetune"))


def predicts(run: Run, recipe: Recipe) -> bool:
    """Whether a run's model answers with `load_predictor`, and not as a model that chats does."""
    writes = recipe.task in WRITING_TASKS and kind_of_base(run.artifact("base", verify=False)) == "seq2seq"
    return writes or recipe.task in PREDICTORS


def _embedding(trained: Artifact) -> Predictor:
    context = read_json(trained.file("tokenizer_config.json"))["model_max_length"]
    return EmbeddingPredictor(load_embedder(trained.path, context=context))


def _ranking(trained: Artifact) -> Predictor:
    ranker = load_ranker(trained.path)
    move(ranker.model, device())
    return RankingPredictor(ranker)


PREDICTORS: dict[str, Callable[[Artifact], Predictor]] = {
    **dict.fromkeys(READING_TASKS, predictor_of),
    "embed": _embedding,
    "rank": _ranking,
}
