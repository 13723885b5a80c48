"""`setsail bundle RUN`: a checked model as one folder for the edge, tried before it is kept.

The program, its trial and the README are in `compress/bundle*.py`; here stands what of a run goes in, and what its
checked model says of a held-out row. The invariant: a folder under its final name has answered as that model does.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from setsail.base.artifact import Artifact, open_artifact, parents_of, sealed
from setsail.base.errors import ArtifactError, CheckRefused, SetsailError, UserError
from setsail.base.files import explained_os_errors, publish_folder
from setsail.base.log import Log, size
from setsail.base.machine import describe
from setsail.base.recipe import ENCODER_TASKS, Recipe
from setsail.base.recipe_file import load_recipe
from setsail.base.run import RUN_FILE, Run
from setsail.compress.bundle import (
    ENGINES,
    Licence,
    differences,
    in_words,
    try_program,
    write_licences,
    write_program,
)
from setsail.compress.bundle_readme import About, write_readme
from setsail.data.row import iterate_rows
from setsail.engine.batch import generate_all
from setsail.engine.contract import GenerationRequest
from setsail.models.onnx_model import SETTINGS, file_of, load_onnx, read_settings
from setsail.stages.answering.engines import ModelFile, context_of, open_process
from setsail.stages.answering.onnx_predictors import exported_of, predictor_of
from setsail.stages.answering.serving import fields_of
from setsail.stages.checked import refuse_unchecked
from setsail.stages.kinds import gguf_name, tokenizer_of
from setsail.tasks.prediction import question_of
from setsail.tokens.render import render, render_text

KIND = "bundle"
TEXT_SETTINGS = "text.json"
NUM_LOOKED_AT = 200  # test rows, for one that fits the context whole
MOST_TRIED_TOKENS = 32  # of the text that is written on trial
_SIDE_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


@dataclass(frozen=True)
class Cargo:
    """What of a run goes into a bundle: its checked artefact, one of its precisions, and the engine's name."""

    run: Run
    recipe: Recipe
    served: Artifact
    weights: str
    engine: str

    @property
    def source(self) -> Path:
        """The model's file."""
        return self.served.file(file_of(self.weights) if self.engine == "onnx" else gguf_name(self.weights))

    @property
    def target(self) -> str:
        """The name of that file in a bundle."""
        return f"model.{self.engine}"


def bundle_run(path: Path, *, out: Path | None = None, weights: str | None = None) -> Path:
    """Writes a run's bundle, tries it, and returns its folder: `out`, or `bundle-WEIGHTS` in the run.

    Raises:
        UserError: no such run, no such precision, or a folder that is no bundle is in the way.
        ArtifactError: the run has nothing that runs at the edge.
        CheckRefused: the model was not checked; or the bundle answers otherwise, and is removed.
    """
    if not (path / RUN_FILE).is_file():
        raise UserError(f'"{path}" is not the folder of a run', hint="setsail runs lists what is here")
    log, cargo = Log(), _cargo(Run(path), weights)
    final = out or path / f"bundle-{cargo.weights}"
    _refuse_to_overwrite(final)
    refuse_unchecked(cargo.run, cargo.served)
    draft = final.with_name(f".{final.name}.partial")
    with explained_os_errors(f"writing the bundle {final}"):
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        try:
            said = _fill(draft, cargo, log)
            metrics = {"weights": cargo.weights, **said}
            sealed(draft, kind=KIND, parents=parents_of(served=cargo.served), metrics=metrics)
            shutil.rmtree(final, ignore_errors=True)
            publish_folder(draft, final)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    total = sum(entry["bytes"] for entry in open_artifact(final).manifest.files.values())
    log.say(f"✓ bundle     {final}  {size(total)}, {cargo.weights}")
    log.say(f"next   cd {final} && pip install -r requirements.txt && python run.py …")
    return final


def _cargo(run: Run, weights: str | None) -> Cargo:
    recipe = load_recipe(run.path / "recipe.yaml").recipe
    if recipe.task in ENCODER_TASKS:
        served, engine = exported_of(run), "onnx"
        there = read_settings(served.path).weights
        default = "int8" if "int8" in there else there[0]
    else:
        served, engine = _gguf_of(run), "gguf"
        there = tuple(name for name in recipe.export.weights if gguf_name(name) in served.manifest.files)
        default = there[0] if there else ""
    if not default:
        hint = "write export: {format: gguf} into the recipe, and no adapter; then setsail run RECIPE"
        raise ArtifactError("this run exported no whole GGUF file", place=str(run.path), hint=hint)
    if weights is not None and weights not in there:
        raise UserError(f'nothing was exported as "{weights}"', place="--weights", hint=f"there are {', '.join(there)}")
    return Cargo(run, recipe, served, weights or default, engine)


def _gguf_of(run: Run) -> Artifact:
    if "gguf" not in run.current():
        hint = "encoders that classify or search, and models that write by GGUF, have one"
        raise ArtifactError("this run has no form for the edge", place=str(run.path), hint=hint)
    return run.artifact("gguf")


def _refuse_to_overwrite(final: Path) -> None:
    if not final.exists() or (final.is_dir() and not any(final.iterdir())):
        return
    try:
        is_bundle = open_artifact(final, verify=False).manifest.kind == KIND
    except SetsailError:
        is_bundle = False
    if not is_bundle:
        raise UserError(f'"{final}" is there and is no bundle', place="--out", hint="name a folder that is not there")


def _fill(draft: Path, cargo: Cargo, log: Log) -> dict[str, Any]:
    """Everything but the manifest, tried; what the trial showed."""
    task = read_settings(cargo.served.path).task if cargo.engine == "onnx" else cargo.recipe.task
    shutil.copyfile(cargo.source, draft / cargo.target)
    for name in _SIDE_FILES:
        if name in cargo.served.manifest.files:
            shutil.copyfile(cargo.served.file(name), draft / name)
    if cargo.engine == "onnx":
        shutil.copyfile(cargo.served.file(SETTINGS), draft / SETTINGS)
    else:
        (draft / TEXT_SETTINGS).write_text(
            json.dumps(_text_settings(cargo.recipe), ensure_ascii=False, indent=1) + "\n"
        )
    write_program(draft, task, engine=cargo.engine)
    write_licences(draft, _licences(cargo))
    has_report = "report" in cargo.run.current()
    if has_report:
        shutil.copyfile(cargo.run.artifact("report").file("report.html"), draft / "report.html")
    asked, expected = (_encoder_says if cargo.engine == "onnx" else _writer_says)(cargo)
    answer, measured = try_program(draft, asked)
    other = differences(expected, answer)
    if other:
        raise CheckRefused(
            f"the bundle says another {other[0]} than the checked model: {_short(answer.get(other[0]))} instead of "
            f"{_short(expected[other[0]])}, asked {_short(asked)}",
            place="stage bundle",
            hint="nothing was kept; this is a fault of setsail or of this machine",
        )
    log.say(f"  run.py answers as the checked model does; {in_words(measured)}")
    about = About(
        name=cargo.recipe.name,
        task=task,
        weights=cargo.weights,
        engines=ENGINES[cargo.engine][:2],
        model_bytes=(draft / cargo.target).stat().st_size,
        measured=measured,
        machine=describe(),
        example=_example(asked),
        has_report=has_report,
    )
    write_readme(draft, about)
    return {"trial": asdict(measured), "machine": describe()}


def _text_settings(recipe: Recipe) -> dict[str, Any]:
    return {
        "context": context_of(recipe),
        "max_tokens": recipe.serve.max_tokens,
        "chats": recipe.writes_answers,
        "system": recipe.data.system or "",
    }


def _licences(cargo: Cargo) -> list[Licence]:
    base, data = (cargo.run.artifact(stage, verify=False).metrics for stage in ("base", "data"))
    return [
        Licence(f"base {cargo.recipe.base_name}", base["licence"], base["source"]["origin"]),
        Licence(f"data {cargo.recipe.data.source}", data.get("licence", "not stated")),
    ]


def _encoder_says(cargo: Cargo) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """A held-out question that fits the context, and what the exported file says to it."""
    predictor = predictor_of(load_onnx(cargo.served.path, cargo.weights))
    for row in islice(_test_rows(cargo), NUM_LOOKED_AT):
        fields = fields_of(row, cargo.recipe.task)
        answer = predictor.answers([question_of(predictor, fields)])[0]
        if answer.num_tokens < predictor.context and not answer.is_cut:
            return fields, {name: value for name, value in answer.said.items() if name != "probabilities"}
    raise ArtifactError("no test row fits the context whole, to try the bundle on", place=str(cargo.run.path))


def _writer_says(cargo: Cargo) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """A held-out question and what llama.cpp writes with the checked file, asked as it was checked."""
    recipe, tokenizer = cargo.recipe, tokenizer_of(cargo.served)
    row = next(_test_rows(cargo))
    fields = fields_of(row, recipe.task)
    if recipe.writes_answers:
        system = [{"role": "system", "content": recipe.data.system}] if recipe.data.system else []
        rendered = render(tokenizer, [*system, {"role": "user", "content": fields["text"]}], generation_prompt=True)
    else:
        fields = {"text": " ".join(fields["text"].split()[:12])}
        rendered = render_text(tokenizer, fields["text"], generation_prompt=True)
    tokens = min(MOST_TRIED_TOKENS, recipe.serve.max_tokens)
    stop_ids = tuple(sorted({rendered.stop_id, *tokenizer.eos_ids}))
    request = GenerationRequest(tuple(rendered.ids), tokens, stop_ids=stop_ids)
    reader = ModelFile(cargo.source, "llamacpp", "the engine of the bundle")
    with open_process(reader, recipe, slots=1) as process:
        (done,) = generate_all(process, [request])
    return {**fields, "max_tokens": tokens}, {"output": tokenizer.decode(done.token_ids)}


def _test_rows(cargo: Cargo) -> Any:
    return iterate_rows(cargo.run.artifact("data").file("test.parquet"))


def _example(asked: Mapping[str, Any]) -> str:
    """A line for the program, its texts left open."""
    names = [name for name in asked if name != "max_tokens"]
    return "…" if names == ["text"] else json.dumps(dict.fromkeys(names, "…"), ensure_ascii=False)


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else text[:200] + " …"
