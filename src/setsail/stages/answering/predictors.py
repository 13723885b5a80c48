"""The predictor of each task whose answers are no conversation: what reads a text, embeds it, ranks it, writes for it.

What says something of a text stands in `predictor.py`, what embeds and ranks in `search_predictors.py`; here they are
loaded by torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from setsail.base.artifact import Artifact
from setsail.base.device import device, move, prepare_device
from setsail.base.recipe import READING_TASKS, Recipe
from setsail.base.recipe_pairs import WRITING_TASKS
from setsail.base.run import Run
from setsail.models.embedder import load_embedder
from setsail.models.plain_ranker import load_ranker
from setsail.models.plain_reader import load_plain
from setsail.models.weights import read_json
from setsail.models.writer import Writer, load_writer
from setsail.stages.answering.predictor import ReadingPredictor
from setsail.stages.answering.search_predictors import EmbeddingPredictor, RankingPredictor
from setsail.tasks.prediction import Answer, Fields, Predictor, Question, filled_text, written_line
from setsail.tasks.registry import find_reading
from setsail.tokens.read import Encoded


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
    prepare_device(recipe.seed)
    if recipe.task in WRITING_TASKS:
        writer = load_writer(run.artifact("merged").path)
        move(writer.model, device())
        return WritingPredictor(writer, recipe.task, recipe.training.context)
    return PREDICTORS[recipe.task](run.artifact("finetune"))


def predictor_of(trained: Artifact) -> ReadingPredictor:
    """The saved model of a training stage that says something of texts, on the device."""
    task = json.loads(trained.file("reference.json").read_text("utf-8")).get("task", "classify")
    reading = find_reading(task)
    reader = load_plain(trained.path, reading.head)
    move(reader.model, device())
    return ReadingPredictor(reader, task, reading, num_end=end_marks(reader.tokenizer, reading.num_texts))


def end_marks(tokenizer: Any, num_texts: int) -> int:
    """How many marks of its own a tokenizer puts behind the last text."""
    encoding = tokenizer(*(("a",) * num_texts)).encodings[0]
    return Encoded.of(encoding).in_last[::-1].index(True)


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
