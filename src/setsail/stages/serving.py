"""Serving a run: the tuned model and its base behind one door, and only what the check has passed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from setsail.base.artifact import Artifact
from setsail.base.environment import read_environment, without_key
from setsail.base.errors import EXIT_DONE, CheckRefused, SystemRefusal, UserError
from setsail.base.log import Log
from setsail.base.recipe import Recipe
from setsail.base.recipe_file import load_recipe
from setsail.base.run import Run
from setsail.evaluate.evaluation import read_evaluation
from setsail.serve.client import Client
from setsail.serve.models import ServedModel
from setsail.serve.run import refuse_open_door, serve, take_port
from setsail.stages.base import refuse_to_write_text, tokenizer_of
from setsail.stages.engines import context_of, file_to_serve, open_process

_LEAVE_SECONDS = 40.0


def read_run(path: Path) -> tuple[Run, Recipe]:
    """A run that can be talked to, and its resolved recipe.

    Raises:
        UserError: a classifier, which answers with labels.
    """
    run = Run(path)
    if (path / "recipe.yaml").exists() and load_recipe(path / "recipe.yaml").recipe.task == "classify":
        raise UserError(
            "this run is a classifier: it gives a text a label, and cannot be served or talked to yet",
            place=str(path),
            hint=f'setsail predict {path} "your text"',
        )
    if "base" in run.current():
        refuse_to_write_text(run.artifact("base", verify=False))
    run.artifact("gguf", verify=False)
    return run, load_recipe(path / "recipe.yaml").recipe


def serve_run(
    path: Path,
    *,
    host: str | None = None,
    port: int | None = None,
    engine: str | None = None,
    before_check: bool = False,
) -> int:
    """Serves until told to leave. The address goes to stdout, the rest to stderr.

    Raises:
        CheckRefused: the model was not checked, or the check found a breach.
        SystemRefusal: the port is taken.
    """
    run, recipe = read_run(path)
    settings = recipe.serve.model_copy(update={k: v for k, v in {"host": host, "port": port}.items() if v is not None})
    key = read_environment().api_key
    key_sha256 = hashlib.sha256(key.encode()).hexdigest() if key else None
    refuse_open_door(settings, key_sha256)
    take_port(settings.host, settings.port).close()  # said now, not after the model is loaded
    tuned, base = run.artifact("gguf"), run.artifact("base_gguf")
    if not before_check:
        refuse_unchecked(run, tuned)
    log = Log()
    models = {
        recipe.name: _served(tuned, recipe, recipe.name, engine, log=log),
        "base": _served(base, recipe, "base", engine, log=log, lazily=True),
    }

    def listening(address: str) -> None:
        print(address, flush=True)
        log.say(_what_to_do(address, recipe.name))

    serve(models, settings, api_key_sha256=key_sha256, on_listening=listening)
    return EXIT_DONE


def refuse_unchecked(run: Run, served: Artifact) -> None:
    """Raises:
    CheckRefused: when no passed check speaks of exactly these files.
    """
    stages = run.current()
    again = "setsail run RECIPE checks it"
    if "check" not in stages:
        raise CheckRefused("this model was never checked against the trainer", place=str(run.path), hint=again)
    check = run.artifact("check")
    if check.manifest.parents.get("served") != served.id:
        raise CheckRefused("the check speaks of another model than the one here", place=str(run.path), hint=again)


def _served(
    artifact: Artifact, recipe: Recipe, name: str, engine: str | None, *, log: Log, lazily: bool = False
) -> ServedModel:
    file = file_to_serve(artifact, recipe, engine)
    process = open_process(file, recipe)
    model = ServedModel(
        name=name,
        tokenizer=tokenizer_of(artifact),
        engine=process,
        context=context_of(recipe),
        created=int(file.path.stat().st_mtime),
        lineage=artifact.id[:12],
        description=f"{file.path.name} by {file.engine}",
        start=process.start if lazily else None,
    )
    if not lazily:
        log.say(f"  {name}: {file.path} by {file.engine} ({file.why})")
        process.start()
    return model


def _what_to_do(address: str, name: str) -> str:
    ask = json.dumps({"model": name, "messages": [{"role": "user", "content": "…"}]}, ensure_ascii=False)
    return (
        f"  chat page   {address}/\n"
        f'  API         {address}/v1   (any OpenAI client; model "{name}", or "base")\n'
        f"  try         curl {address}/v1/chat/completions -H 'Content-Type: application/json' -d '{ask}'\n"
        f"  stop        Ctrl-C"
    )


@contextmanager
def served_apart(run: Path, *, engine: str | None = None, before_check: bool = False) -> Iterator[str]:
    """The run served by the very command a person would type, in another process, on a free port.

    Yields: the address.
    """
    command = [sys.executable, "-m", "setsail", "serve", str(run), "--port", "0", "--host", "127.0.0.1"]
    command += ["--engine", engine] if engine else []
    command += ["--before-check"] if before_check else []
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
    read_run(path)
    log = Log()
    question = _first_question(Run(path))
    with served_apart(path) as address, Client(address) as client:
        client.wait_until_ready()
        model = client.models()[0]["id"]
        answer = client.chat([{"role": "user", "content": question}], model=model, temperature=0, max_tokens=120)
    log.say("no terminal here, so one real request instead of a server that waits:")
    log.say(f"  asked     {question}")
    log.say(f"  answered  {answer.text.strip()}  [{answer.num_tokens} tokens, {answer.finish_reason}]")
    log.say(f"next   setsail serve {path}   then open http://127.0.0.1:8000")


def _first_question(run: Run) -> str:
    """A question of the held-out test."""
    from_test = run.artifact("evaluate").file("evaluation.json")
    return read_evaluation(from_test).samples[0].prompt[-1]["content"]
