"""Predicting with a run: questions in, JSON lines out; each task says its own.

What a chat model that writes says is made in `pair_predicting.py`. The invariant: nothing here needs torch before an
engine is named that does.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from setsail.base.errors import DataError, UserError, did_you_mean
from setsail.base.files import explained_os_errors
from setsail.base.log import Log
from setsail.base.recipe import ENCODER_TASKS, READING_TASKS, Recipe
from setsail.base.recipe_file import load_recipe
from setsail.base.recipe_pairs import WRITING_TASKS
from setsail.base.run import Run
from setsail.models.weights import read_json
from setsail.stages.answering.graph import gathered, libraries, write_graph
from setsail.stages.answering.onnx_predictors import exported_of
from setsail.stages.checked import refuse_unchecked
from setsail.tasks.prediction import (
    Fields,
    Line,
    Predictor,
    Question,
    answers_of,
    example_of,
    lines_of,
    question_of,
)

TORCH, ONNX = "torch", "onnx"
ENGINES = {
    TORCH: "setsail.stages.answering.predictors:load_predictor",
    ONNX: "setsail.stages.answering.onnx_predictors:load_predictor",
}


def predict_with_run(
    path: Path,
    text: str | None = None,
    *,
    file: Path | None = None,
    every: bool = False,
    query: str | None = None,
    graph: Path | None = None,
    engine: str | None = None,
) -> None:
    """Prints a line for each question, with `cut` where a text's end did not fit the context.

    A question is a text; or, where the task asks for more than a text, a JSON object with its columns, such as
    `{"question": …, "context": …}`. `file` has one on each line, "-" is stdin. What is said is the task's: labels and
    their probability, with `every` those of each label; an encoder of vectors says `vector`; a ranker orders the texts
    for `query` and says `score`; a task that writes says `output`. Relations are also gathered as files in `graph`. The
    `engine` is torch, or onnx where the run exported such files.

    Raises:
        UserError: neither a text nor a file, or both; a run that predicts nothing; a question that lacks a part.
        CheckRefused: the model was not checked, or the check found a breach.
        SystemRefusal: a graph is asked for and the extra that writes it is not installed.
    """
    if (text is None) == (file is None):
        raise UserError("give a text or a file of them", hint='setsail predict RUN "text", or --file texts.txt')
    run = Run(path)
    trained = run.artifact("finetune")
    recipe = load_recipe(path / "recipe.yaml").recipe
    if recipe.task not in (*ENCODER_TASKS, *WRITING_TASKS):
        hint = f"setsail chat {path}, or setsail serve {path}"
        raise UserError(f"this run has nothing to predict: its task is {recipe.task}", place=str(path), hint=hint)
    if (query is not None) != (recipe.task == "rank"):
        wrong = "the texts are ordered for a query: say it" if query is None else "only a ranker is asked a query"
        raise UserError(wrong, place=str(path), hint='setsail predict RUN --query "what is asked" --file texts.txt')
    if graph is not None and recipe.task != "relate":
        hint = "leave --graph out, or name a run of task: relate"
        told = f"a graph is made of relations; the task of this run is {recipe.task}"
        raise UserError(told, place=str(path), hint=hint)
    written_by = None if graph is None else libraries()
    engine = engine_of(recipe, engine)
    if engine == ONNX:
        refuse_unchecked(run, exported_of(run))
    else:
        refuse_unchecked(run, trained, part="trained")
    texts = [text] if text is not None else list(_lines(file or Path("-")))
    num_cut, said = 0, []
    for line in _said(run, recipe, texts, engine=engine, every=every, query=query):
        num_cut += line.get("cut", False) is True
        said += [line] if written_by else []
        print(json.dumps(line, ensure_ascii=False), flush=True)
    if num_cut:
        context = read_json(trained.file("tokenizer_config.json"))["model_max_length"]
        Log().say(f"! {num_cut} of {len(texts)} texts are longer than {context} tokens; their end was not read")
    if graph is not None and written_by is not None:
        triples = gathered(said, no_relation=recipe.data.no_relation)
        names = write_graph(triples, graph, written_by)
        Log().say(f"graph  {len(triples)} relations of {len(texts)} texts in {graph}/: {', '.join(names)}")


def engine_of(recipe: Recipe, engine: str | None) -> str:
    """The engine that predicts: the one named, or the recipe's; torch where none is.

    Raises:
        UserError: an engine that does not predict for this task.
    """
    wanted = engine or recipe.serve.engine
    wanted = TORCH if wanted == "auto" or (engine is None and wanted not in ENGINES) else wanted
    if wanted not in ENGINES:
        raise UserError(f'no engine "{wanted}" predicts', place="--engine", hint=did_you_mean(wanted, ENGINES))
    if wanted == ONNX and recipe.task not in ENCODER_TASKS:
        raise UserError(f"the engine onnx runs encoders; the task of this run is {recipe.task}", place="--engine")
    return wanted


def _named(target: str) -> Any:
    """ "module:function", imported now: an engine's packages are heavy."""
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


def _said(run: Run, recipe: Recipe, texts: list[str], *, engine: str, every: bool, query: str | None) -> Iterator[Line]:
    if recipe.task in WRITING_TASKS and not _named("setsail.stages.kinds:predicts")(run, recipe):
        return _named("setsail.stages.answering.pair_predicting:written_lines")(run.artifact("gguf"), recipe, texts)
    predictor: Predictor = _named(ENGINES[engine])(run, recipe)
    asked: list[str | Fields] = list(texts)
    if recipe.task in READING_TASKS:
        asked = [_columns(each) for each in texts]
    elif query is not None:
        asked = [{"query": query, "text": each} for each in texts]
    questions = [_question(predictor, each, number) for number, each in enumerate(asked, start=1)]
    return lines_of(predictor, answers_of(predictor, questions), every=every)


def _columns(text: str) -> str | Fields:
    """The columns of a question that is written as a JSON object; any other text, also one that begins like one."""
    try:
        fields = json.loads(text) if text.lstrip().startswith("{") else None
    except ValueError:
        return text
    return fields if isinstance(fields, dict) else text


def _question(predictor: Predictor, asked: str | Fields, number: int) -> Question:
    try:
        return question_of(predictor, asked)
    except UserError as error:
        hint = f"setsail predict RUN '{example_of(predictor)}'"
        raise UserError(error.message, place=f"line {number}", hint=hint) from error


def _lines(file: Path) -> Iterator[str]:
    """Each line of a file that holds anything."""
    with explained_os_errors(f'reading "{file}"'):
        try:
            whole = sys.stdin.read() if str(file) == "-" else file.read_text("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(f'"{file}" is not UTF-8: {error}', hint="iconv -f GB18030 -t UTF-8 FILE") from error
    return (line for line in whole.splitlines() if line.strip())
