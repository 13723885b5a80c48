"""The held-out prompts of the faithfulness check, and the trainer's own answers to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from setsail.base.recipe import Recipe
from setsail.compress.check import Answer, Observation, Probe
from setsail.compress.observe import observe_model
from setsail.data.row import Row
from setsail.evaluate.question import choose_rows
from setsail.stages.examples import nats_of
from setsail.tasks.registry import load_task
from setsail.tasks.task import Dropped
from setsail.tokens.pack import Example
from setsail.tokens.tokenizer import Tokenizer


@dataclass(frozen=True)
class Reference:
    """What the trainer did at the end of training."""

    probes: tuple[Probe, ...]
    trainer: Observation

    def as_json(self) -> dict[str, Any]:
        return {"format": 1, "probes": [asdict(probe) for probe in self.probes], "trainer": asdict(self.trainer)}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Reference:
        probes = tuple(_probe(**probe) for probe in raw["probes"])
        trainer = raw["trainer"]
        answers = tuple(_answer(**answer) for answer in trainer["answers"])
        return cls(probes, Observation(trainer["stage"], trainer["precision"], answers))


def _probe(*, messages: Sequence[Mapping[str, str]], prompt_ids: list[int], answer_ids: list[int], **rest: Any) -> Probe:
    return Probe(messages=tuple(messages), prompt_ids=tuple(prompt_ids), answer_ids=tuple(answer_ids), **rest)


def _answer(*, prompt_ids: list[int], text_ids: list[int], first: Mapping[str, float], **rest: Any) -> Answer:
    first_by_id = {int(token): value for token, value in first.items()}
    return Answer(prompt_ids=tuple(prompt_ids), text_ids=tuple(text_ids), first=first_by_id, **rest)


def choose_probes(recipe: Recipe, tokenizer: Tokenizer, rows: Sequence[Row]) -> tuple[Probe, ...]:
    """Up to `check.prompts` held-out rows that fit the context, as training renders them."""
    task = load_task(recipe.task)
    fitting = []
    for row in rows:
        made = task.example(row, tokenizer, recipe.finetune.context, "drop")
        if not isinstance(made, Dropped):
            fitting.append((row, made[0]))
    chosen = {row.id for row in choose_rows([row for row, _ in fitting], recipe.check.prompts, seed=recipe.seed)}
    probes = []
    for row, example in fitting:
        if row.id in chosen:
            prompt = task.prompt(row, tokenizer)
            ids = tuple(int(token) for token in example.ids)
            assert ids[: len(prompt.ids)] == tuple(prompt.ids), "a prompt is the beginning of its training example"
            probes.append(
                Probe(
                    row_id=row.id,
                    messages=tuple(dict(message) for message in prompt.messages),
                    prompt_ids=tuple(prompt.ids),
                    answer_ids=ids[len(prompt.ids) :],
                    answer=task.reference(row),
                    stop_id=prompt.stop_id,
                )
            )
    return tuple(probes)


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
    task = load_task(recipe.task)
    return observe_model(
        model.float().eval(),
        probes,
        stage=stage,
        precision=precision,
        max_new_tokens=recipe.check.max_new_tokens,
        render_ids=lambda probe: tuple(task.render_prompt(probe.messages, tokenizer).ids),
        decode=tokenizer.decode,
        nats_of=_probe_nats,
    )


@torch.no_grad()
def _probe_nats(model: PreTrainedModel, probe: Probe) -> float:
    ids = np.array(probe.prompt_ids + probe.answer_ids, dtype=np.int32)
    mask = np.arange(len(ids)) >= len(probe.prompt_ids)
    return nats_of(model, [Example(ids, mask, probe.row_id)])[0]
