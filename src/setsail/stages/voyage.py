"""The whole voyage, in order. Each stage knows what it needs; this file knows only which comes after which."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from setsail.base.artifact import Artifact
from setsail.base.errors import RecipeError
from setsail.base.files import explained_os_errors, write_atomically
from setsail.base.log import Log, duration
from setsail.base.recipe import ENCODER_TASKS
from setsail.base.recipe_file import LoadedRecipe, load_recipe
from setsail.base.recipe_pairs import WRITING_TASKS
from setsail.base.run import Run
from setsail.base.yaml_file import dump_yaml
from setsail.data.page.build import PAGE
from setsail.stages.answering.engine_trial import make_speeds
from setsail.stages.checks import writer as writer_check
from setsail.stages.checks.pairs import make_pair_check
from setsail.stages.checks.reader import make_read_check
from setsail.stages.checks.search import make_search_check
from setsail.stages.export.onnx import make_onnx
from setsail.stages.export.weights import make_adapter, make_gguf, make_merged, refuse_unfit_weights
from setsail.stages.kinds import kind_of_base, refuse_to_write_text
from setsail.stages.learn.following import follow_voyage
from setsail.stages.learn.precision import MIXED, make_precision
from setsail.stages.learn.pruning import pruned
from setsail.stages.learn.training import make_training
from setsail.stages.report import how_to_load, make_report
from setsail.stages.rows.base import make_base, needs_tokenizer
from setsail.stages.rows.data import make_data
from setsail.stages.rows.mixing import make_mix
from setsail.stages.rows.tokenizer import make_tokenizer
from setsail.stages.scores import restoration
from setsail.stages.scores.candidates import rows_to_rank
from setsail.stages.scores.evaluating import evaluation_of
from setsail.stages.scores.exam import Exam
from setsail.stages.scores.guard import refuse_forgetting, refuse_without_questions
from setsail.stages.stage import Voyage
from setsail.train.parallel import World, joined

# A verb to the stage with which it is done.
ENDS = {
    "prepare": "data",
    "tokenizer": "tokenizer",
    "finetune": "finetune",
    "pretrain": "pretrain",
    "export": "gguf",
    "evaluate": "evaluate",
    "check": "check",
    "report": "report",
}


def sail(
    path: Path, settings: Sequence[str], runs: Path, *, until: str = "report", log: Log | None = None
) -> dict[str, Any]:
    """Sails a recipe up to a verb's stage; finished stages are recognised. Of several processes the first does it.

    Returns:
        `name`, `folder`, `stages` (verb to folder), `seconds`.

    Raises:
        SystemExit: in every process but the first, at the end.
    """
    with joined() as world:
        if world.leads:
            return _lead(path, settings, runs, until=until, log=log or Log(), world=world)
        follow_voyage(path, settings, runs, world)
    raise SystemExit(0)


def _lead(path: Path, settings: Sequence[str], runs: Path, *, until: str, log: Log, world: World) -> dict[str, Any]:
    loaded = load_recipe(path, settings)
    for note in loaded.notes:
        log.say(f"  {note}")
    _check_verb(loaded, until)
    voyage = Voyage(loaded, Run(runs / loaded.recipe.name), log, world)
    began = time.monotonic()
    with voyage.run.locked():
        _save_recipe(voyage)
        made = _sail(voyage, until)
    log.say(f"done in {duration(time.monotonic() - began)}")
    _say_next(voyage, until, made)
    ends = {**ENDS, "export": "onnx"} if "onnx" in made else ENDS
    stages = {verb: str(made[kind].path) for verb, kind in ends.items() if kind in made}
    return {
        "name": loaded.recipe.name,
        "folder": str(voyage.run.path),
        "stages": stages,
        "seconds": round(time.monotonic() - began, 1),
    }


def _check_verb(loaded: LoadedRecipe, verb: str) -> None:
    """A recipe trains in one of two ways, and the verb of the other is a slip."""
    way = loaded.recipe.training_key
    if verb in ("finetune", "pretrain") and verb != way:
        place = loaded.place(way)
        raise RecipeError(f"this recipe says {way}, not {verb}", place=place, hint=f"setsail {way} {loaded.path}")
    if verb == "export" and loaded.recipe.task in ENCODER_TASKS and loaded.recipe.export.format != "onnx":
        raise RecipeError(
            "an encoder is not exported: the folder of its finetune stage is what transformers loads",
            place=loaded.place("task"),
            hint=f"setsail run {loaded.path}, then setsail predict RUN; or write export: {{format: onnx}}",
        )


def _sail(voyage: Voyage, until: str) -> dict[str, Artifact]:
    made: dict[str, Artifact] = {}
    made["data"] = make_data(voyage)
    if until == "prepare":
        return made
    if until == "tokenizer" or needs_tokenizer(voyage):
        made["tokenizer"] = make_tokenizer(voyage, made["data"])
    if until == "tokenizer":
        return made
    made["base"] = pruned(voyage, make_base(voyage, made.get("tokenizer")), made["data"])
    refuse_without_questions(voyage, made["base"])
    refuse_unfit_weights(voyage, made["base"])
    if until == "export" and voyage.recipe.task not in ENCODER_TASKS:
        refuse_to_write_text(made["base"])
    ranks = voyage.recipe.task == "rank"
    rows = rows_to_rank(voyage, made["data"]) if ranks else make_mix(voyage, made["data"])
    if rows is not made["data"]:
        made["candidates" if ranks else "mix"] = rows
    trained = made[voyage.recipe.training_key] = make_training(voyage, made["base"], rows)
    if until in ("finetune", "pretrain"):
        return made
    if voyage.recipe.task in ENCODER_TASKS:
        return _judge_encoder(voyage, made, until)
    if kind_of_base(made["base"]) == "seq2seq" and voyage.recipe.task in WRITING_TASKS:
        return _sail_on_pairing(voyage, until, made)
    if kind_of_base(made["base"]) != "decoder":
        return _sail_on_restoring(voyage, until, made)
    licence = made["base"].metrics["licence"]
    made["merged"] = make_merged(voyage, made["base"], trained)
    if MIXED in voyage.recipe.export.weights and voyage.recipe.export.format == "gguf":
        made["precision"] = make_precision(voyage, made["merged"], made["data"])
    if voyage.recipe.export.adapter:
        made["base_gguf"] = _served(voyage, made["base"], "base_gguf", licence)
        made["gguf"] = make_adapter(voyage, made["base"], trained, made["base_gguf"], licence=licence)
    else:
        made["gguf"] = _served(voyage, made["merged"], "gguf", licence, made.get("precision"))
    if until == "export":
        return made
    made["base_gguf"] = _served(voyage, made["base"], "base_gguf", licence)
    make_speeds(voyage, made["gguf"])
    if until in ("evaluate", "report"):
        made["evaluate"] = evaluation_of(voyage, made, Exam(made["data"]))
        refuse_forgetting(voyage, made["evaluate"])
    if until in ("check", "report"):
        forms = writer_check.Forms(base=made["base"], trained=trained, merged=made["merged"], served=made["gguf"])
        made["check"] = writer_check.make_check(voyage, forms)
    if until == "report":
        made["report"] = make_report(voyage, made)
    return made


def _sail_on_restoring(voyage: Voyage, until: str, made: dict[str, Artifact]) -> dict[str, Artifact]:
    """The end of a voyage whose model restores hidden text: no file to serve, all else."""
    base, trained = made["base"], made["pretrain"]
    saved = made["merged"] = make_merged(voyage, base, trained)
    if until in ("evaluate", "report"):
        made["evaluate"] = evaluation_of(voyage, made, Exam(made["data"]))
    if until in ("check", "report"):
        made["check"] = restoration.make_restoration_check(voyage, base, trained, saved)
    if until == "report":
        made["report"] = make_report(voyage, made)
    return made


def _sail_on_pairing(voyage: Voyage, until: str, made: dict[str, Artifact]) -> dict[str, Artifact]:
    """The end of a voyage whose encoder-decoder writes: its folder is what is used."""
    base, trained = made["base"], made["finetune"]
    saved = made["merged"] = make_merged(voyage, base, trained)
    if until in ("evaluate", "report"):
        made["evaluate"] = evaluation_of(voyage, made, Exam(made["data"]))
    if until in ("check", "report"):
        made["check"] = make_pair_check(voyage, trained, saved)
    if until == "report":
        made["report"] = make_report(voyage, made)
    return made


def _judge_encoder(voyage: Voyage, made: dict[str, Artifact], until: str) -> dict[str, Artifact]:
    """What comes after training where the folder itself is the result, or ONNX files beside it."""
    if voyage.recipe.export.format == "onnx":
        made["onnx"] = make_onnx(voyage, made["finetune"])
    if until in ("evaluate", "report"):
        made["evaluate"] = evaluation_of(voyage, made, Exam(made.get("candidates", made["data"])))
    if until in ("check", "report"):
        check_encoder = make_read_check if voyage.recipe.is_reading else make_search_check
        made["check"] = check_encoder(voyage, made["finetune"], made.get("onnx"))
    if until == "report":
        made["report"] = make_report(voyage, made)
    return made


def _served(voyage: Voyage, model: Artifact, kind: str, licence: str, precision: Artifact | None = None) -> Artifact:
    """The form that is served: GGUF files, or the folder itself where the recipe exports safetensors only."""
    if voyage.recipe.export.format == "safetensors":
        voyage.run.note(kind, model)
        return model
    return make_gguf(voyage, model, kind=kind, licence=licence, precision=precision)


def _save_recipe(voyage: Voyage) -> None:
    loaded: LoadedRecipe = voyage.loaded
    with explained_os_errors("saving the resolved recipe"):
        text = dump_yaml(loaded.recipe.resolved())
        write_atomically(voyage.run.path / "recipe.yaml", f"# resolved from {loaded.path.name}\n{text}")


def _say_next(voyage: Voyage, until: str, made: dict[str, Artifact]) -> None:
    if until == "report":
        voyage.log.say(f"read   {made['report'].path / 'report.html'}")
        voyage.log.say(f"next   {_next(voyage, made)}")
    else:
        if until == "prepare":
            voyage.log.say(f"read   {made['data'].path / PAGE}")
        voyage.log.say(f"next   setsail run {voyage.loaded.path}")


def _next(voyage: Voyage, made: dict[str, Artifact]) -> str:
    """What to type after the whole voyage: the way in which such a model is used."""
    if voyage.recipe.task in ENCODER_TASKS:
        options = ' --query "what is asked" --file texts.txt' if voyage.recipe.task == "rank" else ""
        return f"setsail predict {voyage.run.path}{options}, or setsail serve {voyage.run.path}"
    if voyage.recipe.task in WRITING_TASKS and kind_of_base(made["base"]) == "seq2seq":
        return f"setsail predict {voyage.run.path}, or setsail serve {voyage.run.path}"
    return f"setsail serve {voyage.run.path}" if kind_of_base(made["base"]) == "decoder" else how_to_load(made)
