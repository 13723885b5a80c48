"""The forgetting guard: the battery asked of the base once and of every tuned model, and what is made of a drop.

Each model's answers are an artefact of their own, so that a base is examined once however often it is tuned in a run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from setsail.base.artifact import Artifact
from setsail.base.device import compute_dtype, device, move, prepare_device
from setsail.base.errors import CheckRefused, RecipeError
from setsail.base.recipe import New, Recipe
from setsail.evaluate.battery.items import VERSION, Passage, Question, passages, questions
from setsail.evaluate.evaluation import FILE as EVALUATION
from setsail.evaluate.evaluation import read_evaluation
from setsail.evaluate.guard import (
    FILE,
    Examination,
    Guard,
    Taken,
    compare,
    read_examination,
    sentence,
    write_examination,
)
from setsail.models.load import load_model
from setsail.stages.answering.engines import answer_all, context_of, how_served
from setsail.stages.kinds import kind_of_base, tokenizer_of
from setsail.stages.lessons.examples import nats_of
from setsail.stages.lessons.objectives import lesson_of
from setsail.stages.stage import StageSpec, Voyage, make
from setsail.tokens.pack import Example
from setsail.tokens.render import Rendered, render, render_text, text_ids
from setsail.tokens.tokenizer import Tokenizer


@dataclass(frozen=True)
class Examined:
    """The battery as both models did it; nothing where the recipe leaves the guard out."""

    base: Artifact
    tuned: Artifact

    def compare(self, recipe: Recipe) -> Guard:
        """What the two come to."""
        base, tuned = (read_examination(each.file(FILE)) for each in (self.base, self.tuned))
        return compare(base, tuned, resamples=recipe.evaluate.resamples, seed=recipe.seed)


def is_guarded(recipe: Recipe) -> bool:
    """Whether there is something to forget, and the recipe wants to know."""
    return recipe.evaluate.guard != "off" and not isinstance(recipe.base, New)


def examine(voyage: Voyage, kind: str, *, weights: Artifact, served: Artifact) -> Artifact:
    """The battery as one model does it: texts by its weights, answers by the engine that will serve its file."""
    recipe = voyage.recipe

    def build(draft: Path) -> Mapping[str, Any]:
        prepare_device(recipe.seed)
        items = [*_read(recipe, weights), *_answer(voyage, served, kind)]
        write_examination(draft / FILE, Examination(VERSION, tuple(items)))
        return {"num_items": len(items)}

    settings = {
        "battery": VERSION,
        "task": recipe.task,
        **how_served(recipe),
        "weights": recipe.export.weights[0],
        "context": context_of(recipe),
    }
    return make(voyage, StageSpec(kind, settings, {"weights": weights, "served": served}, {}), build)


def refuse_without_questions(voyage: Voyage, base: Artifact) -> None:
    """Before training: a promise to refuse needs a base that can be asked.

    Raises:
        RecipeError: the recipe says `refuse`, and its base is new or does not chat.
    """
    recipe = voyage.recipe
    if recipe.evaluate.guard != "refuse" or (is_guarded(recipe) and kind_of_base(base) == "decoder"):
        return
    what = "is new" if isinstance(recipe.base, New) else f"is a {kind_of_base(base)} model"
    raise RecipeError(
        f"the questions of the guard are for a given model that chats, and {recipe.base_name} {what}",
        place=voyage.loaded.place("evaluate.guard"),
        hint="leave evaluate.guard out",
    )


def refuse_forgetting(voyage: Voyage, evaluated: Artifact) -> None:
    """Ends the voyage where the recipe says `refuse` and a skill has dropped.

    Raises:
        CheckRefused: naming what dropped and by how much.
    """
    guard = read_evaluation(evaluated.file(EVALUATION)).guard
    if voyage.recipe.evaluate.guard != "refuse" or guard is None or not guard.dropped:
        return
    key = voyage.recipe.training_key
    raise CheckRefused(
        sentence(guard).rstrip("."),
        place=voyage.loaded.place("evaluate.guard"),
        hint=f"mix in rows of a general kind ({key}.mix), lower {key}.learning_rate or epochs; guard: tell goes on",
    )


def _read(recipe: Recipe, weights: Artifact) -> list[Taken]:
    """What the weights pay for the texts, in bits over bytes."""
    tokenizer = tokenizer_of(weights)
    model = load_model(weights.path, dtype=compute_dtype())
    move(model, device())
    room = int(getattr(model.config, "max_position_embeddings", 0)) or 1 << 30
    texts = passages()
    examples = [_example(passage, tokenizer, room) for passage in texts]
    with torch.inference_mode():
        nats = nats_of(model, examples, lesson_of(recipe, "decoder", tokenizer))
    return [
        Taken(passage.skill, passage.id, value / math.log(2), float(_num_bytes(example, passage, tokenizer)))
        for passage, example, value in zip(texts, examples, nats, strict=True)
    ]


def _example(passage: Passage, tokenizer: Tokenizer, room: int) -> Example:
    """The text without an end: how a model stops is not what is asked. Behind the context nothing is read."""
    before = tokenizer.text_start_ids
    ids = [*before, *text_ids(tokenizer, passage.text)][:room]
    return Example(np.array(ids, dtype=np.int32), np.arange(len(ids)) >= max(1, len(before)), passage.id)


def _num_bytes(example: Example, passage: Passage, tokenizer: Tokenizer) -> int:
    """The UTF-8 length of what is priced; of the whole text where tokens are no bytes."""
    if tokenizer.is_byte_level:
        return int(tokenizer.token_sizes[example.ids[example.loss_mask]].sum())
    return len(passage.text.encode())


def _answer(voyage: Voyage, served: Artifact, name: str) -> list[Taken]:
    """The questions answered, and each answer checked; a prompt that leaves no room for its answer is left out."""
    recipe, tokenizer = voyage.recipe, tokenizer_of(served)
    asked = questions(answers=recipe.task == "chat")
    prompts = [_prompt(question, tokenizer, recipe) for question in asked]
    room = context_of(recipe)
    fitting = [n for n, question in enumerate(asked) if len(prompts[n].ids) + question.max_tokens <= room]
    if len(fitting) < len(asked):
        voyage.log.say(f"  {len(asked) - len(fitting)} questions of the battery are too long for serve.context")
    answers = answer_all(
        served,
        recipe,
        [prompts[n] for n in fitting],
        max_tokens=[asked[n].max_tokens for n in fitting],
        progress=(voyage.log, f"battery of {name.partition('_')[0]}"),
    )
    return [_taken(asked[n], tokenizer.decode(answer.token_ids)) for n, answer in zip(fitting, answers, strict=True)]


def _taken(question: Question, answer: str) -> Taken:
    return Taken(question.skill, question.id, float(question.check(answer)), 1.0, question.prompt, answer)


def _prompt(question: Question, tokenizer: Tokenizer, recipe: Recipe) -> Rendered:
    if recipe.task == "chat":
        return render(tokenizer, [{"role": "user", "content": question.prompt}], generation_prompt=True)
    return render_text(tokenizer, question.prompt, generation_prompt=True)
