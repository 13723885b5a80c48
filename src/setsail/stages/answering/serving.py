"""Serving a run: what writes and its base behind one door, or what predicts; and only what the check has passed."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from setsail.base.artifact import Artifact
from setsail.base.environment import read_environment, without_key
from setsail.base.errors import EXIT_DONE, SystemRefusal, UserError
from setsail.base.log import Log
from setsail.base.recipe import ENCODER_TASKS, Recipe
from setsail.base.recipe_file import load_recipe
from setsail.base.recipe_pairs import WRITING_TASKS
from setsail.base.run import Run
from setsail.base.target import spans_of
from setsail.data.pairs import query_of, text_of
from setsail.data.row import Row, iterate_rows
from setsail.engine.process import EngineProcess
from setsail.engine.registry import FAR_ENGINES
from setsail.evaluate.question import question_of, question_text
from setsail.serve.audit import Audit
from setsail.serve.batching import PredictorThread
from setsail.serve.client import Client
from setsail.serve.keys import hash_of, read_keys
from setsail.serve.models import ServedModel
from setsail.serve.predictors import ServedPredictor
from setsail.serve.run import refuse_open_door, serve, take_port
from setsail.serve.service import Served
from setsail.stages.answering.engines import (
    ModelFile,
    cache_told,
    context_of,
    engine_mark,
    file_to_serve,
    open_process,
    say_what_answers,
    with_engine,
)
from setsail.stages.answering.first_look import look_first
from setsail.stages.answering.onnx_predictors import exported_of
from setsail.stages.answering.onnx_predictors import load_predictor as load_exported
from setsail.stages.answering.shared_engines import Shared, shared_engines
from setsail.stages.checked import refuse_other_cache, refuse_unchecked
from setsail.stages.feedback.log import open_log
from setsail.stages.kinds import predicts, refuse_to_write_text, tokenizer_of
from setsail.tasks.prediction import Predictor

# What runs are, and do, whose models do not converse.
DOES = {
    "classify": "a classifier: it gives a text a label",
    "regress": "an encoder: it gives a text a score",
    "grade": "an encoder: it grades an answer against a rubric",
    "tag": "an encoder: it marks parts of a text",
    "relate": "an encoder: it says how two names have to do with one another",
    "answer": "an encoder: it finds answers in a text",
    "embed": "an encoder: it gives a text a vector",
    "rank": "a ranker: it scores texts for a query",
    **dict.fromkeys(WRITING_TASKS, "an encoder-decoder: it writes a text for a text"),
}
LONGEST_SHOWN = 300  # characters of an answer
_LEAVE_SECONDS = 40.0


def read_run(path: Path) -> tuple[Run, Recipe]:
    """A run that can be talked to, and its resolved recipe.

    Raises:
        UserError: a model that predicts: it answers with labels, vectors, scores, or a text for a text.
        ModelError: a model that restores hidden text.
    """
    run, recipe = _opened(path)
    if predicts(run, recipe):
        raise UserError(
            f"this run is {DOES[recipe.task]}, and cannot be talked to",
            place=str(path),
            hint=f'setsail predict {path} "your text", or setsail serve {path}',
        )
    if "base" in run.current():
        refuse_to_write_text(run.artifact("base", verify=False))
    run.artifact("gguf", verify=False)
    return run, recipe


def _opened(path: Path, settings: Sequence[str] = ()) -> tuple[Run, Recipe]:
    """A run and its resolved recipe. Raises: ArtifactError where nothing has been made yet."""
    run, file = Run(path), path / "recipe.yaml"
    if not file.exists():
        run.artifact("base", verify=False)
    return run, load_recipe(file, settings).recipe


def serve_run(
    *paths: Path,
    engine: str | None = None,
    key_env: str | None = None,
    settings: Sequence[str] = (),
    before_check: bool = False,
    without_keys: bool = False,
) -> int:
    """Serves one run or several until told to leave. The address goes to stdout, the rest to stderr.

    Host, port, keys, the log of answers and deadlines are the first run's; slots, context and longest answers each
    run's own. `settings` change what the recipes say (`serve.port=8001`). The address of another server is an engine
    too, and `key_env` the variable that holds its key.

    Raises:
        CheckRefused: the model was not checked, or the check found a breach.
        SystemRefusal: the port is taken; others could read the key of the log of answers.
        UserError: the key file cannot be used; the log of answers has no key; other machines could come in without a
            key; two runs have one name.
    """
    for setting in settings:
        if not setting.startswith("serve."):
            told = f'"{setting}" is not of serving: a run answers as it was trained and checked'
            raise UserError(told, place="--set", hint="set keys of serve, as in --set serve.slots=32")
    runs = [_opened(path, settings) for path in paths]
    for run, recipe in runs:
        if not predicts(run, recipe):
            read_run(run.path)
    _refuse_one_name(runs)
    log = Log()
    changed = [(run, *with_engine(recipe, engine, key_env=key_env)) for run, recipe in runs]
    runs, engine = [(run, recipe) for run, recipe, _ in changed], changed[0][2]
    said = runs[0][1].serve
    if without_keys:
        said = said.model_copy(update={"keys": None, "audit": None, "answers": None})
    key = None if without_keys else read_environment().api_key
    key_sha256 = hash_of(key.encode()) if key else None
    refuse_open_door(said, key_sha256)
    if said.keys is not None:
        read_keys(Path(said.keys))
    if said.audit is not None:
        Audit(Path(said.audit))
    take_port(said.host, said.port).close()  # told now, not after the model is loaded
    answer_log = open_log(said.answers, [recipe for _, recipe in runs], log) if said.answers is not None else None
    try:
        models = served_runs(runs, engine, log=log, before_check=before_check)
    except BaseException:
        if answer_log is not None:
            answer_log.close()
        raise

    def listening(address: str) -> None:
        print(address, flush=True)
        for _, recipe in runs:
            log.say(_what_to_ask(address, recipe, models))
        log.say("  stop        Ctrl-C")

    serve(models, said, api_key_sha256=key_sha256, on_listening=listening, answers=answer_log)
    return EXIT_DONE


def _refuse_one_name(runs: Sequence[tuple[Run, Recipe]]) -> None:
    """Requests choose a model by its name."""
    found: dict[str, Path] = {}
    for run, recipe in runs:
        if recipe.name in found:
            told = f"two runs are called {recipe.name}: {found[recipe.name]} and {run.path}"
            raise UserError(told, place="name", hint="serve one of them, or give one another name in its recipe")
        found[recipe.name] = run.path


def served_runs(
    runs: Sequence[tuple[Run, Recipe]], engine: str | None = None, *, log: Log, before_check: bool = False
) -> dict[str, Served]:
    """The models of all runs, in their order; what was opened is closed when a later one cannot be.

    Among several, a base is called after its run, and an engine that was named is that of the models that write.
    """
    models: dict[str, Served] = {}
    write = [run for run, recipe in runs if not predicts(run, recipe)]
    shared = shared_engines([(run, recipe) for run, recipe in runs if run in write], engine)
    try:
        for run, recipe in runs:
            if run in write:
                base = "base" if len(runs) == 1 and recipe.name != "base" else f"{recipe.name}/base"
                told = {"log": log, "before_check": before_check, "base_name": base}
                opened = served_writers(run, recipe, engine, shared=shared.get(run.path), **told)
            else:
                named = None if write else engine
                opened = served_predictor(run, recipe, named, log=log, before_check=before_check)
            models |= opened
    except BaseException:
        for model in models.values():
            model.engine.close()
        raise
    return models


def served_writers(
    run: Run,
    recipe: Recipe,
    engine: str | None = None,
    *,
    log: Log,
    before_check: bool = False,
    base_name: str = "base",
    shared: Shared | None = None,
) -> dict[str, Served]:
    """The tuned model, and its base on first use; or both by a shared engine, one with the adapter, one without.

    A far engine has the tuned model alone.
    """
    tuned, base = run.artifact("gguf"), run.artifact("base_gguf")
    is_known = False
    if not before_check:
        refuse_unchecked(run, tuned)
        refuse_other_cache(run, recipe)
        is_known = _is_checked_so(run, tuned, recipe, engine, log)
    if shared is None:
        model = _served(tuned, recipe, recipe.name, engine, log=log)
        first: dict[str, Served] = {recipe.name: model}
        if (engine or recipe.serve.engine) in FAR_ENGINES:
            with ExitStack() as unless_alike:
                unless_alike.callback(model.engine.close)
                if not before_check:
                    look_first(run, recipe, model.engine, model.tokenizer, log, known=is_known)
                unless_alike.pop_all()
            return first
        return first | {base_name: _served(base, recipe, base_name, engine, log=log, lazily=True)}
    log.say(f"  {recipe.name}: {shared.file.special.adapters[0]} on {shared.file.path.name} by {shared.file.engine}")
    shared.start()
    adapted = _described(tuned, recipe, recipe.name, shared.file, shared.process)
    return {
        recipe.name: replace(adapted, adapter=shared.number),
        base_name: _described(base, recipe, base_name, shared.file, shared.process),
    }


def _is_checked_so(run: Run, tuned: Artifact, recipe: Recipe, engine: str | None, log: Log) -> bool:
    """Whether the check that was passed speaks of what answers now; another engine, or another server, is named."""
    asked = run.artifact("check").manifest.recipe
    now, by = file_to_serve(tuned, recipe, engine).engine, asked.get("by")
    elsewhere = now == "remote" and asked.get("engine") != engine_mark(recipe)
    is_other = by is not None and (by != now or elsewhere)
    if is_other:
        told = f"! {recipe.name} was checked as {by} answers" + (" at another address" if by == now else "")
        log.say(f"{told}, not as {now} does: setsail run RECIPE with serve.engine: {now} checks that too")
    return by is not None and not is_other


def served_predictor(
    run: Run, recipe: Recipe, engine: str | None = None, *, log: Log, before_check: bool = False
) -> dict[str, Served]:
    """The one model, loaded."""
    wanted = engine or recipe.serve.engine
    if wanted not in ("auto", "torch", "onnx") or (wanted == "onnx" and recipe.task not in ENCODER_TASKS):
        runs = "encoders" if wanted == "onnx" else "models that converse"
        told = f"the engine {wanted} runs {runs}; this run is {DOES[recipe.task]}"
        raise UserError(told, place=str(run.path), hint="leave --engine and serve.engine out, or say torch")
    by_onnx = wanted == "onnx"
    model = exported_of(run) if by_onnx else run.artifact("finetune")
    if not before_check:
        refuse_unchecked(run, model, part="served" if by_onnx else "trained")
    by = "onnxruntime" if by_onnx else "torch"

    def load() -> Predictor:
        if by_onnx:
            return load_exported(run, recipe)
        from setsail.stages.answering.predictors import (
            load_predictor,  # torch, which nothing else that is served waits for
        )

        return load_predictor(run, recipe)

    log.say(f"  {recipe.name}: {model.path} by {by} ({DOES[recipe.task]})")
    served = ServedPredictor(
        name=recipe.name,
        tokenizer=tokenizer_of(model),
        engine=PredictorThread(load).start(),
        created=int(model.path.stat().st_mtime),
        lineage=model.id[:12],
        does=DOES[recipe.task],
        description=f"{recipe.task} by {by}",
        settings=recipe.serve,
    )
    return {recipe.name: served}


def _served(
    artifact: Artifact, recipe: Recipe, name: str, engine: str | None, *, log: Log, lazily: bool = False
) -> ServedModel:
    file = file_to_serve(artifact, recipe, engine)
    process = open_process(file, recipe, grammars=True)
    if lazily:
        return replace(_described(artifact, recipe, name, file, process), start=process.start)
    say_what_answers(name, file, log)
    if told := cache_told(file, recipe):
        log.say(f"  {name}: {told}")
    process.start()
    if process.note:
        log.say(f"  {name}: {process.note}")
    return _described(artifact, recipe, name, file, process)


def _described(artifact: Artifact, recipe: Recipe, name: str, file: ModelFile, process: EngineProcess) -> ServedModel:
    """A model as it is served; of an engine that has started, its own context, which elsewhere may be less."""
    return ServedModel(
        name=name,
        tokenizer=tokenizer_of(artifact),
        engine=process,
        context=min(context_of(recipe), process.context),
        created=int(file.path.stat().st_mtime),
        lineage=artifact.id[:12],
        description=file.description,
        task=recipe.task,
        system=recipe.data.system or "",
        settings=recipe.serve,
    )


def _what_to_ask(address: str, recipe: Recipe, models: Mapping[str, Served]) -> str:
    model = models[recipe.name]
    if isinstance(model, ServedPredictor):
        path, ask = "/predict", {"model": recipe.name, **model.example}
        api = f"  API         {' '.join(address + each for each in model.paths)}\n"
    else:
        path, ask = "/v1/chat/completions", {"model": recipe.name, "messages": [{"role": "user", "content": "…"}]}
        or_base = ", or its base" if {"base", f"{recipe.name}/base"} & set(models) else ""
        api = (
            f"  chat page   {address}/\n"
            f'  API         {address}/v1   (any OpenAI client; model "{recipe.name}"{or_base})\n'
        )
    body = json.dumps(ask, ensure_ascii=False)
    return f"{api}  try         curl {address}{path} -H 'Content-Type: application/json' -d '{body}'"


@contextmanager
def served_apart(run: Path, *, engine: str | None = None, before_check: bool = False) -> Iterator[str]:
    """The run served by the very command a person would type, in another process, on a free port.

    Yields: the address.
    """
    command = [sys.executable, "-m", "setsail", "serve", str(run), "--port", "0", "--host", "127.0.0.1"]
    command += ["--engine", engine] if engine else []
    command += ["--ourselves", "before-check" if before_check else "checked"]
    with tempfile.TemporaryFile("w+") as said:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True, env=without_key())
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            if not address:
                server.wait(_LEAVE_SECONDS)
                said.seek(0)
                raise SystemRefusal(f"the server did not start: {said.read()[-600:].strip()}", place=str(run))
            yield address
        finally:
            server.terminate()
            try:
                server.communicate(timeout=_LEAVE_SECONDS)
            except subprocess.TimeoutExpired:
                server.kill()
                server.communicate()


def serve_after_voyage(path: Path) -> None:
    """At a terminal: serves. Without one: answers one real request, says so, and leaves."""
    if sys.stdin.isatty() and sys.stdout.isatty() and read_environment().interactive_allowed:
        serve_run(path)
        return
    run, recipe = _opened(path)
    is_predictor = predicts(run, recipe)
    if not is_predictor:
        read_run(path)
    log = Log()
    asked = _first_asked(run, recipe) if is_predictor else _first_question(run)
    with served_apart(path) as address, Client(address) as client:
        client.wait_until_ready()
        answer = _predicted(client, asked) if isinstance(asked, dict) else _answered(client, asked)
    log.say("no terminal here, so one real request instead of a server that waits:")
    log.say(f"  asked     {json.dumps(asked, ensure_ascii=False) if isinstance(asked, dict) else asked}")
    log.say(f"  answered  {answer}")
    then = "post to http://127.0.0.1:8000/predict" if is_predictor else "open http://127.0.0.1:8000"
    log.say(f"next   setsail serve {path}   then {then}")


def _answered(client: Client, question: str) -> str:
    model = client.models()[0]["id"]
    answer = client.chat([{"role": "user", "content": question}], model=model, temperature=0, max_tokens=120)
    return f"{answer.text.strip()}  [{answer.num_tokens} tokens, {answer.finish_reason}]"


def _predicted(client: Client, asked: dict[str, object]) -> str:
    line = json.dumps(client.predict(asked)[0], ensure_ascii=False)
    return line if len(line) <= LONGEST_SHOWN else line[:LONGEST_SHOWN] + " …"


def _first_asked(run: Run, recipe: Recipe) -> dict[str, object]:
    """A body of `/predict` that asks the first row of the held-out test."""
    row: Row = next(iterate_rows(run.artifact("data").file("test.parquet")))
    fields = fields_of(row, recipe.task)
    if recipe.task == "rank":
        return {"query": fields["query"], "texts": [fields["text"]]}
    return {"inputs": [fields["text"] if set(fields) == {"text"} else fields]}


def fields_of(row: Row, task: str) -> dict[str, Any]:
    """The columns of the question that a row of a task asks."""
    if task == "rank":
        return {"query": query_of(row), "text": text_of(row)}
    if task == "embed":
        return {"text": text_of(row)}
    if task in ("answer", "grade"):
        return {message["role"]: message["content"] for message in row.messages}
    if task == "relate":
        places = {span.label: [span.start, span.end] for span in spans_of(row.target)}
        return {"text": row.text, **places}
    return {"text": row.text or row.messages[-2]["content"]}


def _first_question(run: Run) -> str:
    """A question of the held-out test."""
    row = next(iterate_rows(run.artifact("data").file("test.parquet")))
    return question_text(question_of(row).prompt)
