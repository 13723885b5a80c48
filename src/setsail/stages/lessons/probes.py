"""The held-out prompts of the faithfulness check, and the trainer's own answers to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from transformers import PreTrainedModel

from setsail.base.recipe import Recipe
from setsail.compress.check import Observation, Probe
from setsail.compress.observe import observe_model
from setsail.compress.reference import Reference
from setsail.data.row import Row
from setsail.evaluate.question import choose_rows, question_of
from setsail.stages.lessons.examples import nats_of
from setsail.stages.lessons.objectives import Lesson, lesson_of
from setsail.tasks.registry import find_example, find_task
from setsail.tasks.task import Dropped
from setsail.tokens.pack import Example
from setsail.tokens.render import as_plain, render, render_text
from setsail.tokens.tokenizer import Tokenizer


def choose_probes(recipe: Recipe, tokenizer: Tokenizer, rows: Sequence[Row]) -> tuple[Probe, ...]:
    """Up to `check.prompts` held-out rows that fit the context, as training renders them; tools in them as text.

    Of a plain text that is longer, the beginning.
    """
    task = find_task(recipe.task)
    rows = [replace(row, messages=tuple(map(dict, as_plain(tokenizer, row.messages)))) for row in rows]
    fitting = [row for row in rows if can_be_scored(row, tokenizer, recipe)]
    chosen = choose_rows(fitting, recipe.check.prompts, seed=recipe.seed)
    probes = []
    for row in (_that_fits(row, tokenizer, recipe) for row in chosen):
        prompt, answer = task.prompt(row, tokenizer), task.reference(row)
        if row.messages:
            messages = question_of(row).prompt
            ids = example_ids(row, tokenizer, recipe)
            assert ids[: len(prompt)] == prompt, "a prompt is the beginning of its training example"
            stop_id = ids[-1]
            probe = Probe(row.id, tuple(messages), "", tuple(prompt), tuple(ids[len(prompt) :]), answer, stop_id)
        else:
            stop_id = tokenizer.eos_id
            assert stop_id is not None, "rendering a text needs an eos token"
            ids = [*tokenizer.encode(answer, continued=True), stop_id]
            text = row.text.removesuffix(answer)
            probe = Probe(row.id, (), text, tuple(prompt), tuple(ids), answer, stop_id)
        probes.append(probe)
    return tuple(probes)


def can_be_scored(row: Row, tokenizer: Tokenizer, recipe: Recipe) -> bool:
    """Whether a row goes into the context whole; a pair, with either answer; a plain text is scored in windows."""
    made = find_example(recipe.reads)(row, tokenizer, recipe.training.context, "split" if row.text else "drop")
    return not isinstance(made, Dropped)


def _that_fits(row: Row, tokenizer: Tokenizer, recipe: Recipe) -> Row:
    """The row; of a plain text that is longer than the context its beginning, which goes into it with its end."""
    if not row.text or _fits(row, tokenizer, recipe):
        return row
    ends = [end for _, end in tokenizer.backend.encode(row.text, add_special_tokens=False).offsets]
    shorter = (replace(row, text=row.text[:end]) for end in reversed(ends[: recipe.training.context]))
    return next(each for each in shorter if each.text and _fits(each, tokenizer, recipe))


def _fits(row: Row, tokenizer: Tokenizer, recipe: Recipe) -> bool:
    made = find_example(recipe.reads)(row, tokenizer, recipe.training.context, "drop")
    return not isinstance(made, Dropped)


def example_ids(row: Row, tokenizer: Tokenizer, recipe: Recipe) -> list[int]:
    """The ids of a row that fits, as training sees them; of several examples the one with the last answer."""
    made = find_task(recipe.task).example(row, tokenizer, recipe.training.context, "drop")
    assert not isinstance(made, Dropped), "only rows that fit are asked for"
    return [int(token) for token in made[-1].ids]


def prompt_ids(probe: Probe, tokenizer: Tokenizer) -> tuple[int, ...]:
    """A probe's prompt as this tokenizer and its template render it."""
    if probe.messages:
        return tuple(render(tokenizer, probe.messages, generation_prompt=True).ids)
    return tuple(render_text(tokenizer, probe.text, generation_prompt=True).ids)


def observe_trainer(recipe: Recipe, model: PreTrainedModel, tokenizer: Tokenizer, rows: Sequence[Row]) -> Reference:
    """The trainer's answers, from the weights as training left them; float32 where memory allows.

    Mutates: the model's dtype.
    """
    probes = choose_probes(recipe, tokenizer, rows)
    trainer = observe_torch(model, probes, recipe, stage="trainer", precision="same", tokenizer=tokenizer)
    return Reference(probes, trainer)


def observe_torch(
    model: PreTrainedModel, probes: Sequence[Probe], recipe: Recipe, *, stage: str, precision: str, tokenizer: Tokenizer
) -> Observation:
    """What a torch model does with the probes, rendered by the tokenizer and template of its own folder."""
    return observe_model(
        model.float().eval(),
        probes,
        stage=stage,
        precision=precision,
        max_new_tokens=recipe.check.max_new_tokens,
        render_ids=lambda probe: prompt_ids(probe, tokenizer),
        decode=tokenizer.decode,
        nats_of=partial(_probe_nats, lesson=lesson_of(recipe, "decoder", tokenizer)),
    )


@torch.no_grad()
def _probe_nats(model: PreTrainedModel, probe: Probe, *, lesson: Lesson) -> float:
    ids = np.array(probe.prompt_ids + probe.answer_ids, dtype=np.int32)
    mask = np.arange(len(ids)) >= len(probe.prompt_ids)
    return nats_of(model, [Example(ids, mask, probe.row_id)], lesson)[0]
