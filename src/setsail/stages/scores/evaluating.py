"""Which task is evaluated how, and `setsail evaluate RUN` for rows that came later and the models of other runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from setsail.base.artifact import Artifact
from setsail.base.errors import ArtifactError, UserError
from setsail.base.log import Log
from setsail.base.recipe import ENCODER_TASKS, READING_TASKS
from setsail.base.recipe_file import load_recipe
from setsail.base.recipe_pairs import WRITING_TASKS
from setsail.base.run import RUN_FILE, Run
from setsail.evaluate.evaluation import FILE, read_evaluation
from setsail.stages.kinds import kind_of_base
from setsail.stages.rows.data import make_asked
from setsail.stages.scores.candidates import rows_to_rank
from setsail.stages.scores.encoder_forms import Forms as EncoderForms
from setsail.stages.scores.exam import Exam, told
from setsail.stages.scores.pairs import make_pair_evaluation
from setsail.stages.scores.reader import make_read_evaluation
from setsail.stages.scores.restoration import make_restoration_evaluation
from setsail.stages.scores.search import make_search_evaluation
from setsail.stages.scores.writer import Forms, make_evaluation
from setsail.stages.stage import Voyage

_MODELS = ("data", "base", "candidates", "finetune", "onnx", "merged", "gguf", "base_gguf")


def evaluation_of(voyage: Voyage, made: Mapping[str, Artifact], exam: Exam) -> Artifact:
    """The evaluation of a finished model, by the metrics of its task."""
    task = voyage.recipe.task
    if task in READING_TASKS:
        return make_read_evaluation(voyage, exam, EncoderForms(made["base"], made["finetune"], made.get("onnx")))
    if task in ENCODER_TASKS:
        return make_search_evaluation(voyage, exam, EncoderForms(made["base"], made["finetune"], made.get("onnx")))
    base, saved, kind = made["base"], made["merged"], kind_of_base(made["base"])
    if kind != "decoder" and task not in WRITING_TASKS:
        return make_restoration_evaluation(voyage, exam, base, saved)
    is_served = kind == "decoder"
    forms = {
        "base": Forms(base, made["base_gguf"] if is_served else base),
        "tuned": Forms(saved, made["gguf"] if is_served else saved),
    }
    if task in WRITING_TASKS:
        return make_pair_evaluation(voyage, exam, **forms, trained=made["finetune"])
    return make_evaluation(voyage, exam, **forms)


def evaluate_run(
    path: Path, *, data: str | None = None, against: Path | None = None, settings: Sequence[str] = ()
) -> Artifact:
    """Evaluates the model of a run on the rows of `data`, or beside the model of the run `against`, or tells its test.

    Rows are read, cleaned and masked as the recipe says; every usable one is scored, save those that training has seen.
    Of settings only those of `evaluate` count, and who answers (`serve.engine`, `serve.server`), since the model is
    finished.

    Raises:
        UserError: no such run, a setting that would need another model, or another run of another task.
        ArtifactError: the run has no finished model.
    """
    run, log = _run_at(path), Log()
    _refuse_other_settings(settings)
    voyage = Voyage(load_recipe(path / "recipe.yaml", settings), run, log)
    if data is None and against is None and not settings:
        kept = run.artifact("evaluate")
        for line in told(read_evaluation(kept.file(FILE))):
            log.say(f"  {line}")
        return kept
    other = None if against is None else _other_run(voyage, against)
    with run.locked():
        exports = voyage.recipe.export.format == "onnx"  # files of an earlier recipe may still stand there
        models = [kind for kind in _MODELS if kind in run.current() and (kind != "onnx" or exports)]
        made = {kind: run.artifact(kind) for kind in models}
        if not {"finetune", "merged"} & set(made):
            raise ArtifactError("this run has no finished model", place=str(path), hint="setsail run RECIPE makes it")
        asked = None if data is None else make_asked(voyage, data)
        learned = made.get("candidates", made["data"])
        if asked is not None and voyage.recipe.task == "rank":
            asked = rows_to_rank(voyage, asked, kind="asked_candidates")
        return evaluation_of(voyage, made, Exam(learned, asked, other, is_own=False))


def _other_run(voyage: Voyage, path: Path) -> Run:
    other = _run_at(path)
    task, own = load_recipe(path / "recipe.yaml").recipe.task, voyage.recipe.task
    if task != own:
        raise UserError(f"that run's task is {task}, and this one's {own}", place=f"--against {path}")
    return other


def _run_at(path: Path) -> Run:
    if not (path / RUN_FILE).is_file():
        raise UserError(f'"{path}" is not the folder of a run', hint="setsail runs lists what is here")
    return Run(path)


def _refuse_other_settings(settings: Sequence[str]) -> None:
    for setting in settings:
        if not setting.startswith(("evaluate.", "serve.engine=", "serve.server.")):
            raise UserError(f'"{setting}" would need another model', hint="setsail run RECIPE --set …, then evaluate")
