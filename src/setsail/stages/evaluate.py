"""The evaluation stage: base, tuned and nearest neighbour on rows that nothing was trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from setsail.base.artifact import Artifact
from setsail.base.device import compute_dtype, device, move, prepare_device
from setsail.base.log import Log
from setsail.base.recipe import Recipe
from setsail.data.row import Message, Row
from setsail.engine.batch import generate_all
from setsail.engine.contract import GenerationRequest
from setsail.evaluate.baseline import fit_nearest
from setsail.evaluate.contamination import take_out
from setsail.evaluate.evaluation import Evaluation
from setsail.evaluate.interval import Interval
from setsail.evaluate.numbers import metric_interval, metric_value
from setsail.evaluate.question import choose_rows
from setsail.evaluate.score import Plan, evaluate
from setsail.evaluate.system import Answer, System
from setsail.models.load import load_model
from setsail.stages.base import tokenizer_of
from setsail.stages.data import read_parts
from setsail.stages.engines import file_to_serve, open_process
from setsail.stages.examples import examples_of, nats_of
from setsail.stages.objectives import lesson_of
from setsail.stages.probes import fits
from setsail.stages.stage import StageSpec, Voyage, make
from setsail.tokens.render import render
from setsail.tokens.tokenizer import Tokenizer

SLOTS = 32  # answers at once: nobody waits for a single one here


@dataclass(frozen=True)
class Forms:
    """The forms of one model that an evaluation needs: weights for the bits, a file for the answers."""

    weights: Artifact
    served: Artifact


def make_evaluation(voyage: Voyage, data: Artifact, *, base: Forms, tuned: Forms) -> Artifact:
    """Scores with intervals, paired differences, a verdict in words, samples, and every answer kept."""
    recipe = voyage.recipe

    def build(draft: Path) -> Mapping[str, Any]:
        evaluation = _evaluate(voyage, data, draft, base=base, tuned=tuned)
        for line in table(evaluation):
            voyage.log.say(f"  {line}")
        voyage.log.say(f"  {evaluation.verdict}")
        return {"verdict": evaluation.verdict, "decision": evaluation.decision, "num_rows": evaluation.num_rows}

    parents = {
        "data": data,
        "base": base.weights,
        "base_served": base.served,
        "tuned": tuned.weights,
        "tuned_served": tuned.served,
    }
    settings = {
        "evaluate": recipe.evaluate.model_dump(mode="json"),
        "context": recipe.training.context,
        "near": recipe.data.near_duplicates,
        "engine": recipe.serve.engine,
        "seed": recipe.seed,
    }
    return make(voyage, StageSpec("evaluate", settings, parents, {}), build)


def _evaluate(voyage: Voyage, data: Artifact, draft: Path, *, base: Forms, tuned: Forms) -> Evaluation:
    recipe = voyage.recipe
    prepare_device(recipe.seed)
    parts = read_parts(data)
    clean, contamination = take_out(parts.test, parts.train, threshold=recipe.data.near_duplicates)
    tokenizer = tokenizer_of(tuned.weights)
    rows = _that_fit(choose_rows(clean, recipe.evaluate.max_rows, seed=recipe.seed), tokenizer, voyage)
    systems = {
        "tuned": _model(tuned, recipe, voyage.log, "tuned"),
        "base": _model(base, recipe, voyage.log, "base"),
    }
    if recipe.task == "chat":
        systems["nearest"] = fit_nearest(parts.train).system()
    plan = Plan(num_samples=recipe.evaluate.samples, resamples=recipe.evaluate.resamples, seed=recipe.seed)
    return evaluate(systems, rows, draft, plan=plan, contamination=contamination)


def _that_fit(rows: Sequence[Row], tokenizer: Tokenizer, voyage: Voyage) -> list[Row]:
    """The rows that go into the context whole; the others cannot be scored and are counted."""
    fit = [row for row in rows if fits(row, tokenizer, voyage.recipe)]
    if len(fit) < len(rows):
        voyage.log.say(f"  {len(rows) - len(fit)} test rows are longer than the context and are not scored")
    return fit


def _model(forms: Forms, recipe: Recipe, log: Log, name: str) -> System:
    answers = _answers(forms, recipe, log, name) if recipe.task == "chat" else None
    return System(answers=answers, nats=_nats(forms, recipe))


def _answers(
    forms: Forms, recipe: Recipe, log: Log, name: str
) -> Callable[[Sequence[tuple[Message, ...]]], list[Answer]]:
    """Greedy answers by the engine that will serve the file, many at once."""
    tokenizer = tokenizer_of(forms.served)

    def answers(prompts: Sequence[tuple[Message, ...]]) -> list[Answer]:
        rendered = [render(tokenizer, prompt, generation_prompt=True) for prompt in prompts]
        requests = [
            GenerationRequest(
                prompt_ids=tuple(prompt.ids),
                max_tokens=recipe.evaluate.max_new_tokens,
                stop_ids=tuple(sorted({prompt.stop_id, *tokenizer.eos_ids})),
            )
            for prompt in rendered
        ]
        file = file_to_serve(forms.served, recipe)
        with (
            open_process(file, recipe, slots=SLOTS) as process,
            log.progress(f"answers of {name}", len(requests)) as progress,
        ):
            completions = generate_all(process, requests, on_progress=lambda done, total: progress.advance())
        return [
            Answer(tokenizer.decode(done.token_ids), done.reason == "stop", len(done.token_ids), done.seconds)
            for done in completions
        ]

    return answers


def _nats(forms: Forms, recipe: Recipe) -> Callable[[Sequence[Row]], list[float]]:
    """What the weights pay for the held-out answers."""
    tokenizer = tokenizer_of(forms.weights)

    def nats(rows: Sequence[Row]) -> list[float]:
        model = load_model(forms.weights.path, dtype=compute_dtype())
        move(model, device())
        lesson = lesson_of(recipe, "decoder", tokenizer)
        scored = examples_of(rows, tokenizer, recipe, lesson)
        with torch.inference_mode():
            paid = nats_of(model, scored.examples, lesson)
        by_row = dict.fromkeys((row.id for row in rows), 0.0)
        for example, value in zip(scored.examples, paid, strict=True):
            by_row[example.row_id] += value
        return [by_row[row.id] for row in rows]

    return nats


def _cell(metric: str, interval: Interval) -> str:
    return f"{metric_value(metric, interval.value)} {metric_interval(metric, interval)}"


def table(evaluation: Evaluation) -> list[str]:
    """The scores as lines of a terminal: a system a column, a metric a row, 95 % intervals beside the values."""
    names = list(evaluation.systems)
    metrics = list(dict.fromkeys(metric for scores in evaluation.systems.values() for metric in scores.metrics))
    lines = [f"{'':<16}" + "".join(f"{name:>28}" for name in names)]
    for metric in metrics:
        cells = [scores.metrics.get(metric) for scores in evaluation.systems.values()]
        lines.append(f"{metric:<16}" + "".join(f"{_cell(metric, cell) if cell else '–':>28}" for cell in cells))
    return lines
