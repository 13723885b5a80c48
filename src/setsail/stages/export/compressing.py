"""`setsail compress RUN`: the forms of a model beside one another, and the one that fits a target."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from setsail.base.artifact import Artifact
from setsail.base.errors import UserError
from setsail.base.files import write_atomically
from setsail.base.log import Log
from setsail.base.page.words import Words
from setsail.base.recipe import READING_TASKS, Recipe
from setsail.base.recipe_file import load_recipe
from setsail.base.run import RUN_FILE, Run
from setsail.compress.forms import Form, Forms, Target, choose, parse_target
from setsail.stages.checked import finished_model
from setsail.stages.export.forms import make_forms, read_forms
from setsail.stages.export.forms_page import PAGE, PHRASES, lines, titles
from setsail.stages.kinds import kind_of_base
from setsail.stages.stage import Voyage

CHOICE = "compress.json"


def compress_run(path: Path, others: Sequence[Path] = (), target: str | None = None) -> Path:
    """The page about the forms of a run and of the models of other runs; with a target, the choice in compress.json.

    Raises:
        UserError: no such run, a target that is none, a task without forms, or a run on other data.
        ArtifactError, CheckRefused: a run that is not finished or was never checked; no form that fits the target.
    """
    wanted = None if target is None else parse_target(target)
    run, log = _run_at(path), Log()
    voyage = Voyage(load_recipe(path / "recipe.yaml"), run, log)
    data = run.artifact("data")
    _refuse_without_forms(voyage.recipe, run, others)
    models = {path.name: finished_model(run)}
    for other in others:
        if other.name in models:
            raise UserError(f'two runs are called "{other.name}"', place="--with", hint="give one of them another name")
        models[other.name] = _model_of_other(other, voyage.recipe, data)
    with run.locked():
        made = make_forms(voyage, data, models)
        compared = read_forms(made)
        for line in table(compared, voyage.recipe):
            log.say(f"  {line}")
        log.say(f"read   {made.path / PAGE}")
        if wanted is not None:
            chosen = choose(compared, wanted)
            _write_choice(run, compared, chosen, wanted)
            log.say(f"taken  {chosen.name}: {chosen.path}")
    return made.path


def table(compared: Forms, recipe: Recipe) -> list[str]:
    """The forms as lines of a terminal."""
    words = Words(recipe.language, PHRASES, {})
    rows = [titles(compared, words), *lines(compared, words)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def _write_choice(run: Run, compared: Forms, chosen: Form, target: Target) -> None:
    choice = {"chosen": asdict(chosen), "target": asdict(target), "metric": compared.metric}
    text = json.dumps({**choice, "original": asdict(compared.original)}, ensure_ascii=False, indent=1)
    write_atomically(run.path / CHOICE, text + "\n")


def _run_at(path: Path) -> Run:
    if not (path / RUN_FILE).is_file():
        raise UserError(f'"{path}" is not the folder of a run', hint="setsail runs lists what is here")
    return Run(path)


def _refuse_without_forms(recipe: Recipe, run: Run, others: Sequence[Path]) -> None:
    reads = recipe.task in READING_TASKS
    if not reads and (recipe.task not in ("chat", "text") or kind_of_base(run.artifact("base")) != "decoder"):
        raise UserError(
            f"the models of task {recipe.task} cannot be compared by their forms yet",
            place=str(run.path),
            hint="setsail evaluate RUN --against RUN2 compares two of them",
        )
    if reads and not others:
        raise UserError(
            "an encoder's folder is its one form: there is nothing to compare it with",
            place=str(run.path),
            hint="prune or distil a smaller one (docs/guides/compress.md) and name its run: --with runs/NAME",
        )


def _model_of_other(path: Path, recipe: Recipe, data: Artifact) -> Artifact:
    other = _run_at(path)
    task = load_recipe(path / "recipe.yaml").recipe.task
    if task != recipe.task:
        raise UserError(f"that run's task is {task}, and this one's {recipe.task}", place=f"--with {path}")
    if _learned_from(other.artifact("data", verify=False)) != _learned_from(data):
        raise UserError(
            "that run has learned from other data, which may hold rows of this test",
            place=f"--with {path}",
            hint="train it with the same data part of the recipe and the same seed",
        )
    return finished_model(other)


def _learned_from(data: Artifact) -> list[str]:
    """The hashes of what was learned and of what is tested."""
    return [data.manifest.files[name]["sha256"] for name in ("train.parquet", "test.parquet")]
