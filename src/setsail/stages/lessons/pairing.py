"""Pairs of texts for an encoder-decoder: its lesson, and what the trainer itself makes of held-out pairs.

What does not live here: the lessons of language models (`objectives.py`), and what comes after training
(`pair_check.py`, `pair_scores.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from transformers import PreTrainedModel

from setsail.base.device import compute_dtype
from setsail.base.errors import RecipeError
from setsail.base.recipe import Recipe
from setsail.compress.check import Answer, Observation, Probe
from setsail.compress.reference import Reference
from setsail.data.row import Row
from setsail.evaluate.question import choose_rows
from setsail.models.load import load_model
from setsail.models.writer import forget_manners, write
from setsail.stages.lessons.objectives import Lesson
from setsail.tasks.pairs import example, parted, sides, source_ids
from setsail.tasks.registry import PAIRS
from setsail.tasks.task import Dropped
from setsail.tokens.pack import Example
from setsail.tokens.pad import PairBatch, pad_pairs, similar
from setsail.tokens.tokenizer import Tokenizer
from setsail.train.spans import SPANS, span_logits

SAMPLE_TOKENS = 60
MOST_VALIDATION_ROWS = 128


def pairs_lesson(recipe: Recipe, tokenizer: Tokenizer) -> Lesson:
    """How an encoder-decoder learns to write each target from its source.

    Raises:
        RecipeError: the recipe asks for low-rank adapters.
    """
    if recipe.finetune.method == "lora":
        raise RecipeError(
            f"{recipe.base_name} is a seq2seq model: it learns with all its weights",
            place="finetune.method",
            hint="finetune: {method: full}, or take a chat model as the base",
        )
    return Lesson(
        kind="seq2seq",
        objective=SPANS,
        measure="bits_per_byte",
        reads=PAIRS,
        draw=lambda example, draw: example,
        arrange=similar,
        collate=_collate,
        samples=partial(_samples, tokenizer=tokenizer),
        logits=span_logits,
        load=load_to_pair,
        most_validation_rows=MOST_VALIDATION_ROWS,
    )


def load_to_pair(folder: Path) -> PreTrainedModel:
    """A base's model, in the precision of training, that will write what it learns and nothing of an earlier task."""
    return forget_manners(load_model(folder, dtype=compute_dtype()))


def _collate(examples: Sequence[Example]) -> PairBatch:
    return pad_pairs([parted(each) for each in examples], [each.row_id for each in examples])


def _samples(model: PreTrainedModel, texts: Sequence[str], *, tokenizer: Tokenizer) -> list[str]:
    """Each text with what the model writes for it, greedily."""
    model.eval()
    written = write(model, [source_ids(text, tokenizer) for text in texts], max_new_tokens=SAMPLE_TOKENS)
    return [f"{text} → {tokenizer.decode(each.ids)}" for text, each in zip(texts, written, strict=True)]


def observe_pairing_trainer(
    recipe: Recipe, model: PreTrainedModel, tokenizer: Tokenizer, rows: Sequence[Row], lesson: Lesson
) -> Reference:
    """What the trainer writes for held-out sources, in float32, and what their targets cost it.

    Mutates: the model's dtype.
    """
    probes = _choose_probes(recipe, tokenizer, rows)
    return Reference(probes, observe_pairs(model.float().eval(), probes, recipe, lesson, tokenizer, stage="trainer"))


def _choose_probes(recipe: Recipe, tokenizer: Tokenizer, rows: Sequence[Row]) -> tuple[Probe, ...]:
    """Held-out pairs that fit the context and hold no token's name, which other readers would take for the token."""
    made = [(row, example(row, tokenizer, recipe.training.context, "drop")) for row in rows]
    fitting = {row.id: found[0] for row, found in made if not isinstance(found, Dropped)}
    names = tokenizer.special_tokens
    plain = [row for row in rows if row.id in fitting and not any(name in "".join(sides(row)) for name in names)]
    probes = []
    for row in choose_rows(plain, recipe.check.prompts, seed=recipe.seed):
        read, written = (tuple(ids.tolist()) for ids in parted(fitting[row.id]))
        source, target = sides(row)
        probes.append(Probe(row.id, (), source, read, written, target, stop_id=written[-1]))
    return tuple(probes)


def observe_pairs(
    model: PreTrainedModel,
    probes: Sequence[Probe],
    recipe: Recipe,
    lesson: Lesson,
    tokenizer: Tokenizer,
    *,
    stage: str,
) -> Observation:
    """What a model writes for the probes greedily, and what it pays for their targets by the loss that was trained."""
    prompts = [tuple(source_ids(probe.text, tokenizer)) for probe in probes]
    written = write(model, prompts, max_new_tokens=recipe.check.max_new_tokens)
    answers = []
    for probe, prompt, each in zip(probes, prompts, written, strict=True):
        batch = pad_pairs([(_ids(prompt), _ids(probe.answer_ids))], [probe.row_id])
        (nats, _), *_ = lesson.objective.row_nats(model, batch)
        ids = each.ids + ((probe.stop_id,) if each.stopped else ())
        answers.append(Answer(prompt, ids, tokenizer.decode(each.ids), each.stopped, each.first, nats))
    return Observation(stage, "same", tuple(answers))


def _ids(ids: Sequence[int]):
    return torch.tensor(ids).numpy()
