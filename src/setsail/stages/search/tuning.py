"""`setsail tune`: the search for a better recipe, from the recipe to the best one and its test.

Everything lies in the run's folder under `tune`: the search's memory, what trials said, the weights of the best one.
The run's own artefacts stay as they are. The invariant: trials are compared on validation rows alone; the test is
scored once, by the best, when the search is over.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from setsail.base.artifact import Artifact
from setsail.base.device import free_memory_bytes
from setsail.base.errors import DataError, Stopped
from setsail.base.files import explained_os_errors, link_or_copy, write_atomically
from setsail.base.log import Log, duration
from setsail.base.recipe import Recipe
from setsail.base.recipe_file import LoadedRecipe, load_recipe
from setsail.base.recipe_tune import Tune
from setsail.base.run import Run
from setsail.base.yaml_file import dump_yaml
from setsail.data.row import iterate_rows
from setsail.evaluate.evaluation import Evaluation, read_evaluation
from setsail.evaluate.report.drawing import Line, curve
from setsail.stages.kinds import tokenizer_of
from setsail.stages.lessons.reading import lesson_on
from setsail.stages.moved import moved
from setsail.stages.rows.data import make_data
from setsail.stages.search.linear import LINEAR, linear_on_test
from setsail.stages.search.space import BASE, PENALTY, own_settings, recipe_with, space_of
from setsail.stages.search.trial import LINEAR_PENALTY, TRIALS, Trying, prepare_base
from setsail.stages.stage import Voyage
from setsail.stages.voyage import sail
from setsail.tune.crew import Crew
from setsail.tune.page import PAGE, build, verdict
from setsail.tune.record import Record, record_of, settings_line, table, write_record
from setsail.tune.search import Limits, Search
from setsail.tune.space import Space
from setsail.tune.span import seconds_of
from setsail.tune.study import Study, open_study, optuna
from setsail.tune.trial import Trial
from setsail.tune.words import words_in

FOLDER, BEST = "tune", "best.yaml"
DEFAULT_MINUTES = 30.0
_FREE_SHARE = 0.9  # of the memory that is free
_VERSION = 1  # of what a score means
_LOADED = ("setsail.stages.search.trial",)


@dataclass(frozen=True)
class _Hunt:
    """One search: the recipe as it stands in the search's folder, the rows, and what is remembered."""

    voyage: Voyage
    data: Artifact
    study: Study
    measure: str
    limits: Limits
    path: Path  # of the recipe as it was given

    @property
    def folder(self) -> Path:
        return self.voyage.run.path


def tune(
    path: Path, settings: Sequence[str], runs: Path, *, budget: str | None = None, log: Log | None = None
) -> dict[str, Any]:
    """Searches for a better recipe until the budget is spent; the same command goes on after a stop.

    Returns:
        `name`, `folder`, `best` (its settings and score), `recipe`, `test`, `trials`, `seconds`.

    Raises:
        Stopped: somebody pressed Ctrl-C; the best so far is written.
    """
    log = log or Log()
    optuna()
    loaded = load_recipe(path, settings)
    wanted = loaded.recipe.tune or Tune()
    seconds = _seconds(wanted, budget)
    for note in loaded.notes:
        log.say(f"  {note}")
    if not loaded.recipe.data.split.validation:
        raise _nothing_to_judge_by(loaded)
    run = Run(runs / loaded.recipe.name / FOLDER)
    with run.locked():
        with explained_os_errors("opening the search"):
            (run.path / TRIALS).mkdir(parents=True, exist_ok=True)
        hunt = _open(loaded, Run(run.path), log, Limits(seconds, wanted.trials, _memory(wanted)))
        record = _search(hunt, wanted.parallel)
    return _end(hunt, record, runs)


def _seconds(wanted: Tune, budget: str | None) -> float | None:
    """The time that a search has: the command's, the recipe's, or half an hour where nothing else ends it."""
    if budget is not None:
        return seconds_of(budget, "--budget")
    minutes = wanted.budget_minutes or (None if wanted.trials else DEFAULT_MINUTES)
    return None if minutes is None else 60 * minutes


def _memory(wanted: Tune) -> int:
    free = int(_FREE_SHARE * free_memory_bytes())
    return free if wanted.memory is None else int(wanted.memory * 2**30)


def _nothing_to_judge_by(loaded: LoadedRecipe) -> DataError:
    return DataError(
        "there is no validation row to judge trials by",
        place=loaded.place("data.split.validation"),
        hint="data.split.validation: 0.1 keeps a tenth of the rows for that",
    )


def _open(loaded: LoadedRecipe, run: Run, log: Log, limits: Limits) -> _Hunt:
    """Prepares the rows and the base once, and remembers what an earlier start has tried."""
    recipe = moved(loaded.recipe, loaded.folder, run.path)
    there = replace(loaded, recipe=recipe, path=run.path / loaded.path.name)
    voyage = Voyage(there, run, log)
    data = make_data(voyage)
    if next(iterate_rows(data.file("validation.parquet")), None) is None:
        raise _nothing_to_judge_by(loaded)
    base = prepare_base(voyage, data)
    space = space_of(there, base)
    lesson = lesson_on(recipe, base, data, tokenizer_of(base))
    study = open_study(run.path, _fingerprint(recipe, space, data), space, seed=recipe.seed)
    trials = study.trials()
    if study.is_new and study.others:
        log.say("! the recipe, its rows or the space have changed since the last search: a new one begins")
    if not study.is_new:
        ended = sum(trial.has_ended for trial in trials)
        log.say(f"  going on with a search of {ended} trials, {duration(study.spent_seconds)} spent")
    if not any(trial.attempts for trial in trials):
        _begin(study, recipe, base)
    return _Hunt(voyage, data, study, lesson.measure, limits, loaded.path)


def _fingerprint(recipe: Recipe, space: Space, data: Artifact) -> str:
    """What a search is about: everything on which scores depend, and what is tried."""
    values = recipe.resolved()
    parts = ("task", "base", "template", "tokenizer", "seed", recipe.training_key, "check")
    about = {
        "version": _VERSION,
        "recipe": {part: values[part] for part in parts},
        "data": data.id,
        "space": {name: asdict(setting) for name, setting in space.settings.items()},
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _begin(study: Study, recipe: Recipe, base: Artifact) -> None:
    """What is tried first: the cheap model, where there is one, and the recipe as it is."""
    space = study.space
    kind = space.settings.get(space.kind)
    linear = {BASE: LINEAR, PENALTY: LINEAR_PENALTY}
    if kind is not None and space.holds(linear):
        study.enqueue(linear)
    own = own_settings(recipe, base, space)
    if space.holds(own):
        study.enqueue(own, is_own=True)


def _search(hunt: _Hunt, parallel: int) -> Record:
    """Tries until a limit is reached; what came of it is written however it ends."""
    log, study = hunt.voyage.log, hunt.study
    names = ", ".join(study.space.settings)
    log.say(f"▸ search     {names}; judged by {hunt.measure.replace('_', ' ')} on validation rows")
    if hunt.limits.seconds is not None:
        log.say(f"  time        {duration(hunt.limits.seconds)}, {duration(study.spent_seconds)} of them spent")
    trying = Trying(hunt.voyage.recipe, hunt.voyage.loaded.path, hunt.data.path)
    crew = Crew(trying, hunt.folder / TRIALS, size=parallel, modules=_LOADED)

    def ended(trial: Trial) -> None:
        _tell(hunt, trial)
        _tidy(hunt)

    try:
        reason = Search(study, crew, hunt.limits, log, ended).run()
    except KeyboardInterrupt as stopped:
        record = _record(hunt, "stopped")
        _write(hunt, record)
        _show(hunt, record)
        log.say(f"next   setsail tune {hunt.path} goes on from here")
        if record.recipe_trial is not None:
            log.say(f"       setsail run {hunt.folder / BEST} takes the best so far")
        raise Stopped from stopped
    return _record(hunt, reason)


def _tell(hunt: _Hunt, trial: Trial) -> None:
    best = hunt.study.best()
    if trial.score is None:
        told = {"pruned": "ended early", "failed": "failed"}[trial.state] + f": {trial.why}"
    else:
        told = f"{trial.score:.4f}" + ("  the best so far" if best and best.number == trial.number else "")
    hunt.voyage.log.say(f"  trial {trial.number:<4} {told}  ({duration(trial.seconds)})  {settings_line(trial)}")


def _best_recipe(study: Study) -> Trial | None:
    """The best trial that trained a network, of which there is a recipe."""
    trained = [trial for trial in study.trials() if trial.score is not None and trial.settings.get(BASE) != LINEAR]
    return min(trained, key=lambda trial: (trial.score, trial.number)) if trained else None


def _tidy(hunt: _Hunt) -> None:
    """Removes the weights of trials that have ended and are not the best; their scores are remembered."""
    best, trials = _best_recipe(hunt.study), hunt.study.trials()
    kept = {best.facts.get("folder")} if best else set()
    kept |= {trial.facts.get("folder") for trial in trials if trial.state in ("waiting", "running")}
    kept |= {str(name).removesuffix(".partial") for name in kept}
    for trial in trials:
        name = str(trial.facts.get("folder", ""))
        if name and name not in kept and trial.same_as is None:
            shutil.rmtree(hunt.folder / name, ignore_errors=True)


def _record(hunt: _Hunt, ended: str) -> Record:
    best = _best_recipe(hunt.study)
    return record_of(
        hunt.study,
        hunt.voyage.recipe.name,
        hunt.measure,
        ended=ended,
        budget_seconds=hunt.limits.seconds,
        recipe_trial=None if best is None else best.number,
    )


def _write(hunt: _Hunt, record: Record) -> None:
    """tune.json, the page in the recipe's language, and the best recipe as a file of its own."""
    language = hunt.voyage.recipe.language
    words = words_in(language)
    drawn = ""
    if len(record.curve) > 1:
        last = (record.seconds, record.curve[-1][1])
        points = (*((at, score) for at, score, _ in record.curve), last)
        title = words("curve_title", measure=words.known(record.measure))
        drawn = curve([Line(title, points, dots=True)], words("seconds"))
    write_record(hunt.folder, record)
    build(hunt.folder, record, language=language, drawn=drawn)
    if record.recipe_trial is not None:
        trial = record.trial(record.recipe_trial)
        best = recipe_with(hunt.voyage.recipe, trial.settings)
        head = f"# trial {trial.number} of setsail tune {hunt.path.name}: {record.measure} {trial.score:.6f}\n"
        with explained_os_errors("writing the best recipe"):
            write_atomically(hunt.folder / BEST, head + dump_yaml(best.resolved()))


def _show(hunt: _Hunt, record: Record) -> None:
    for line in table(record):
        hunt.voyage.log.say(f"  {line}")
    for name, share in record.importance.items():
        hunt.voyage.log.say(f"  {share:>5.0%}  {name}")
    hunt.voyage.log.say(f"  {verdict(record, 'en')}")


def _end(hunt: _Hunt, record: Record, runs: Path) -> dict[str, Any]:
    """The table, the best recipe, and its score on rows that the search never saw."""
    log = hunt.voyage.log
    log.say(f"  {words_in('en').known(record.ended)} after {duration(record.seconds)}")
    _write(hunt, record)
    _show(hunt, record)
    if record.best is not None:
        record = replace(record, test=_tested(hunt, record))
        _write(hunt, record)
        _share(hunt)
        for name, (value, low, high) in record.test.items():
            log.say(f"  test {name:<20} {value:.4f} [{low:.4f}, {high:.4f}]")
    log.say(f"read   {hunt.folder / PAGE}")
    if record.recipe_trial is not None:
        log.say(f"next   setsail run {hunt.folder / BEST}")
    best = None if record.best is None else record.trial(record.best)
    return {
        "name": hunt.voyage.recipe.name,
        "folder": str(hunt.folder),
        "best": None if best is None else {"settings": dict(best.settings), "score": best.score},
        "recipe": None if record.recipe_trial is None else str(hunt.folder / BEST),
        "test": {name: list(values) for name, values in record.test.items()},
        "trials": sum(trial.has_ended for trial in record.trials),
        "seconds": record.seconds,
    }


def _tested(hunt: _Hunt, record: Record) -> Mapping[str, tuple[float, float, float]]:
    """The figures of the best, and of it alone, on the test."""
    assert record.best is not None
    log = hunt.voyage.log
    if next(iterate_rows(hunt.data.file("test.parquet")), None) is None:
        log.say("  there is no test row: data.split.test keeps some")
        return {}
    log.say("▸ the best is scored on test rows that the search never saw")
    best = record.trial(record.best)
    if best.settings.get(BASE) == LINEAR:
        penalty = best.settings.get(PENALTY, LINEAR_PENALTY)
        out = hunt.folder / "linear-on-test"
        evaluation = linear_on_test(hunt.voyage.recipe, hunt.data, penalty, out, making_seconds=best.seconds)
        return _figures(evaluation, LINEAR)
    sail(hunt.folder / BEST, [f"name={FOLDER}"], hunt.folder.parent, until="evaluate", log=log)
    evaluation = read_evaluation(Run(hunt.folder).artifact("evaluate").file("evaluation.json"))
    return _figures(evaluation, "tuned")


def _figures(evaluation: Evaluation, system: str) -> Mapping[str, tuple[float, float, float]]:
    scores = evaluation.systems[system].metrics if system in evaluation.systems else {}
    return {name: (each.value, each.low, each.high) for name, each in scores.items()}


def _share(hunt: _Hunt) -> None:
    """Puts what the best recipe has made where `setsail run` will look for it, without copying what the disk can share.

    The run's note of what is current is left alone: that changes when the best recipe is run.
    """
    run, best = hunt.folder.parent, _best_recipe(hunt.study)
    if best is None:
        return
    current = Run(hunt.folder).current() | {hunt.voyage.recipe.training_key: str(best.facts["folder"])}
    for name in set(current.values()):
        if (run / name).exists() or not (hunt.folder / name).is_dir():
            continue
        draft = run / f"{name}.partial"
        with explained_os_errors(f"sharing {name}"):
            shutil.rmtree(draft, ignore_errors=True)
            shutil.copytree(hunt.folder / name, draft, copy_function=link_or_copy)
            draft.rename(run / name)
