"""One trial of a search: the recipe with the trial's settings is trained by the stages of any voyage, and validated.

This is what runs in a process of its own. The score is the validation measure of the weights that are kept, in nats or
bits, of which less is better; the test rows are never opened for it.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from setsail.base.artifact import Artifact, open_artifact
from setsail.base.errors import DataError
from setsail.base.log import Log
from setsail.base.recipe import Recipe
from setsail.base.recipe_file import LoadedRecipe
from setsail.base.run import Run
from setsail.data.row import Row
from setsail.stages.kinds import tokenizer_of
from setsail.stages.learn.pruning import pruned
from setsail.stages.learn.training import make_training, prepare_tokens
from setsail.stages.lessons.examples import examples_of, validation_rows
from setsail.stages.lessons.reading import lesson_on
from setsail.stages.lookout import Lookout
from setsail.stages.rows.base import make_base, needs_tokenizer
from setsail.stages.rows.tokenizer import make_tokenizer
from setsail.stages.search.linear import LINEAR, fit_linear
from setsail.stages.search.space import BASE, PENALTY, recipe_with
from setsail.stages.spent import VALIDATION
from setsail.stages.stage import Voyage
from setsail.train.best import best_of
from setsail.train.journal import read_journal
from setsail.train.plan import Plan
from setsail.tune.trial import Forecast, Result, Watch, at_ticks

TRIALS = "trials"  # what each trial said, beside the search's memory
LINEAR_PENALTY = 10.0  # inverse, where it is not tried


@dataclass(frozen=True)
class Trying:
    """What all trials of a search share; calling it tries some. `path` is the recipe's in the search's folder."""

    recipe: Recipe
    path: Path
    data: Path

    def __call__(self, settings: Mapping[str, Any], watch: Watch) -> Result:
        folder = self.path.parent
        with (folder / TRIALS / f"{watch.number}.log").open("a", encoding="utf-8") as file:
            if settings.get(BASE) == LINEAR:
                loaded = LoadedRecipe(self.recipe, self.path, {}, ())
                return self._fit(Voyage(loaded, Run(folder), Log(stream=file)), settings)
            loaded = LoadedRecipe(recipe_with(self.recipe, settings), self.path, {}, ())
            return self._train(Voyage(loaded, Run(folder), Log(stream=file)), watch)

    def _train(self, voyage: Voyage, watch: Watch) -> Result:
        data = open_artifact(self.data, verify=False)
        with _one_at_a_time(voyage.run.path):  # what trials share is made once
            base = prepare_base(voyage, data)
            prepare_tokens(voyage, base, data)
        measure = lesson_on(voyage.recipe, base, data, tokenizer_of(base)).measure
        trained = make_training(replace(voyage, lookout=_lookout(watch, measure)), base, data)
        curve = trained.metrics["validation"]
        if not curve:
            raise DataError("no validation row fits the context, so that nothing can be compared")
        kept = _kept(voyage.recipe, curve, measure)
        facts = {name: value for name, value in kept.items() if name not in ("step", measure)}
        return Result(kept[measure], {**facts, "steps": kept["step"]}, trained.path.name)

    def _fit(self, voyage: Voyage, settings: Mapping[str, Any]) -> Result:
        """The linear model, on the validation rows that a trained one is judged by."""
        data = open_artifact(self.data, verify=False)
        with _one_at_a_time(voyage.run.path):
            rows = judged_rows(voyage, data)
        began = time.process_time()
        nats, figures = fit_linear(voyage.recipe, data, rows, settings.get(PENALTY, LINEAR_PENALTY))
        voyage.log.say(f"  fitted in {time.process_time() - began:.1f} core-seconds, {figures}")
        return Result(nats, figures)


def prepare_base(voyage: Voyage, data: Artifact) -> Artifact:
    """The base of a recipe, with a tokenizer made for it where it takes one."""
    whole = make_base(voyage, make_tokenizer(voyage, data) if needs_tokenizer(voyage) else None)
    return pruned(voyage, whole, data)


def judged_rows(voyage: Voyage, data: Artifact) -> list[Row]:
    """The validation rows by which a model on the recipe's own base is judged."""
    base = prepare_base(voyage, data)
    tokenizer = tokenizer_of(base)
    lesson = lesson_on(voyage.recipe, base, data, tokenizer)
    rows = validation_rows(data, lesson, voyage.recipe)
    read = {example.row_id for example in examples_of(rows, tokenizer, voyage.recipe, lesson).examples}
    if not read:
        raise DataError("no validation row fits the context, so that nothing can be compared")
    return [row for row in rows if row.id in read]


def _kept(recipe: Recipe, curve: list[dict[str, Any]], measure: str) -> Mapping[str, Any]:
    """The validation of the weights that a training ends with: the last, or with patience the best after the start."""
    best = best_of(curve, measure)
    return curve[-1] if recipe.training.watch.patience is None or best["step"] == 0 else best


def _lookout(watch: Watch, measure: str) -> Lookout:
    """Tells a search what a training tells whoever looks on."""
    drafts: list[Path] = []
    told: set[int] = set()

    def planned(draft: Path, plan: Plan, start: int) -> None:
        drafts.append(draft)
        seconds = plan.predicted_seconds * (1 - start / max(1, plan.num_steps))
        watch.planned(Forecast(seconds, plan.predicted_memory_bytes, draft.name))

    def validated(step: int, num_steps: int) -> None:
        curve = read_journal(drafts[-1] / VALIDATION)
        points = [(record["step"] / num_steps, record[measure]) for record in curve]
        for tick, score in at_ticks(points).items():
            if tick not in told and step < num_steps:
                told.add(tick)
                watch.reached(tick, score)

    return Lookout(planned, validated)


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    with (folder / TRIALS / "shared.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
