"""Measuring the engines that read a run's model, for some seconds, as a stage of the voyage or on request."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from setsail.base.artifact import Artifact
from setsail.base.errors import SetsailError
from setsail.base.files import write_atomically
from setsail.base.log import Log
from setsail.base.machine import num_cores
from setsail.base.recipe_file import load_recipe
from setsail.base.run import Run
from setsail.engine.contract import Finished, GenerationRequest, Special, Token
from setsail.engine.gguf_limits import read_limits
from setsail.engine.process import EngineProcess
from setsail.engine.registry import able
from setsail.stages.answering.engine_speeds import FILE, KIND, Speed, fastest, measured_for
from setsail.stages.answering.engines import file_to_serve
from setsail.stages.kinds import predicts, tokenizer_of
from setsail.stages.stage import StageSpec, Voyage, make
from setsail.tokens.tokenizer import Tokenizer

_MOST_SECONDS = 4.0
_BUSY = 1.5  # runnable threads for each core, before ours
_PROMPT_TOKENS, _NEW_TOKENS, _CONTEXT = 64, 32, 256
_TEXT = (
    "my parcel was to come on Monday, and the page still says that it waits in another town. I have written twice and "
    "nobody answers. 我的包裹应该星期一送到，网页上却说它还在另一个城市。请告诉我它在哪里，什么时候能到。 "
) * 4


def measure_runs(*paths: Path) -> None:
    """Measures the engines on each run that writes, where that has not been done on this machine.

    Raises: SystemRefusal where the run cannot be written; ArtifactError where it is not finished.
    """
    log = Log()
    for path in paths:
        run = Run(path)
        run.artifact("base", verify=False)
        voyage = Voyage(load_recipe(path / "recipe.yaml"), run, log)
        if predicts(run, voyage.recipe):
            continue
        served = run.artifact("gguf")
        with run.locked():
            if make_speeds(voyage, served) is None:
                log.say(f"  {voyage.recipe.name}: there is one engine to choose, or the recipe names one")


def make_speeds(voyage: Voyage, served: Artifact) -> Artifact | None:
    """The speeds of the engines that read a GGUF file; None where there is nothing to choose between."""
    recipe = voyage.recipe
    chosen = file_to_serve(served, recipe, "auto")
    file, special = chosen.path, chosen.special
    names = able(file) if file.is_file() and not special.adapters else ()
    if recipe.serve.engine != "auto" or len(names) < 2:
        return None
    slots = recipe.serve.slots
    prompts = _prompts(tokenizer_of(served), read_limits(file).context, slots + 1)

    def build(draft: Path) -> Mapping[str, Any]:
        if os.getloadavg()[0] > _BUSY * num_cores():
            voyage.log.say("! other work runs on this machine: what is measured now holds for a busy one")
        speeds: list[Speed] = []
        for name in names:
            try:
                speeds.append(_measure(name, file, prompts, special))
            except SetsailError as error:  # an engine that cannot is not chosen; why is told
                voyage.log.say(f"  {name} cannot: {error.message}")
        told = {**measured_for(slots), "speeds": [asdict(speed) for speed in speeds]}
        write_atomically(draft / FILE, json.dumps(told, indent=1) + "\n")
        if speeds:
            voyage.log.say(f"  {fastest(speeds, names[0], slots).reason}")
        return {"num_engines": len(speeds)}

    return make(voyage, StageSpec(KIND, {"slots": slots}, {"served": served}, measured_for(slots)), build)


def _prompts(tokenizer: Tokenizer, context: int | None, count: int) -> list[tuple[int, ...]]:
    """Texts that begin differently, so that nothing of one is known from another."""
    num_tokens = min(_PROMPT_TOKENS, (context or _CONTEXT) // 4)
    return [tuple(tokenizer.encode(f"{number}, {_TEXT}")[:num_tokens]) for number in range(count)]


def _measure(name: str, file: Path, prompts: Sequence[tuple[int, ...]], special: Special) -> Speed:
    """A few seconds of answers, to all prompts but the first at once."""
    began = time.monotonic()
    with EngineProcess(name, file, _CONTEXT, len(prompts) - 1, special=special) as process:
        load_seconds = time.monotonic() - began
        _count(process, [GenerationRequest(prompts[0], 1)])  # what is done once is no part of it
        began = time.monotonic()
        num_tokens = _count(process, [GenerationRequest(prompt, _NEW_TOKENS) for prompt in prompts[1:]])
        seconds = time.monotonic() - began
    return Speed(name, round(num_tokens / seconds, 1), round(load_seconds, 2))


def _count(process: EngineProcess, requests: list[GenerationRequest]) -> int:
    """How many tokens all of them got, until they end or time is up. Raises: SetsailError when one fails."""
    events: SimpleQueue[Token | Finished] = SimpleQueue()
    deadline = time.monotonic() + _MOST_SECONDS
    submissions = [process.submit(request, events.put) for request in requests]
    num_tokens, num_running = 0, len(requests)
    try:
        while num_running and (left := deadline - time.monotonic()) > 0:
            event = events.get(timeout=left)
            num_tokens += isinstance(event, Token)
            if isinstance(event, Finished):
                num_running -= 1
                if event.reason == "error":
                    raise SetsailError(event.message)
    except Empty:
        pass
    finally:
        for submission in submissions:
            submission.cancel()
    return num_tokens
