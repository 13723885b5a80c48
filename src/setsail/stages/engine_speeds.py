"""Which engine answers fastest on this machine: measured once, kept in the run, and used by every later start.

A start must not wait for a measurement, so that `chosen_by_speed` only reads what stands there, and falls back on the
registry's rule when it is of other files, another machine, other versions or another number of slots.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from setsail.base.artifact import Artifact
from setsail.base.errors import ArtifactError, SetsailError
from setsail.base.files import write_atomically
from setsail.base.machine import describe, num_cores, versions
from setsail.base.run import Run
from setsail.engine.contract import Finished, GenerationRequest, Token
from setsail.engine.gguf_limits import read_limits
from setsail.engine.process import EngineProcess
from setsail.engine.registry import Choice, able, choose
from setsail.stages.base import tokenizer_of
from setsail.stages.stage import StageSpec, Voyage, make
from setsail.tokens.tokenizer import Tokenizer

KIND = "speeds"
FILE = f"{KIND}.json"
_PACKAGES = ("openvino-genai", "xllamacpp")
_MOST_SECONDS = 4.0
_BUSY = 1.5  # runnable threads for each core, before ours
_PROMPT_TOKENS, _NEW_TOKENS, _CONTEXT = 64, 32, 256
_TEXT = (
    "my parcel was to come on Monday, and the page still says that it waits in another town. I have written twice and "
    "nobody answers. 我的包裹应该星期一送到，网页上却说它还在另一个城市。请告诉我它在哪里，什么时候能到。 "
) * 4
_CLEARLY = 1.2  # a faster engine than the rule's is taken where it is so many times as fast


@dataclass(frozen=True)
class Speed:
    """What one engine wrote in a second, all slots together, the reading of the prompts included."""

    engine: str
    tokens_per_second: float
    load_seconds: float


def make_speeds(voyage: Voyage, served: Artifact, file: Path) -> Artifact | None:
    """The speeds of the engines that read a GGUF file; None where there is nothing to choose between."""
    recipe = voyage.recipe
    names = able(file) if file.is_file() else ()
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
                speeds.append(_measure(name, file, prompts))
            except SetsailError as error:  # an engine that cannot is not chosen; why is told
                voyage.log.say(f"  {name} cannot: {error.message}")
        told = {**_here(slots), "speeds": [asdict(speed) for speed in speeds]}
        write_atomically(draft / FILE, json.dumps(told, indent=1) + "\n")
        if speeds:
            voyage.log.say(f"  {_fastest(speeds, names[0], slots).reason}")
        return {"num_engines": len(speeds)}

    return make(voyage, StageSpec(KIND, {"slots": slots}, {"served": served}, _here(slots)), build)


def chosen_by_speed(artifact: Artifact, file: Path, *, slots: int) -> Choice:
    """The fastest engine for a file of an artefact where it was measured here, else the rule's, and why."""
    rule = choose(file)
    if not file.is_file():
        return rule
    run = Run(artifact.path.parent)
    try:
        found = run.artifact(KIND, verify=False)
        told = json.loads(found.file(FILE).read_text("utf-8"))
        # The base is of the tuned model's shape: what holds for one holds for the other.
        known = {artifact.id, run.artifact("gguf", verify=False).id}
        speeds = [Speed(**each) for each in told.pop("speeds")]
    except (ArtifactError, OSError, ValueError, TypeError, KeyError, AttributeError):
        return rule
    there = [speed for speed in speeds if speed.engine in able(file)]
    if told != _here(slots) or found.manifest.parents.get("served") not in known or not there:
        return rule
    return _fastest(there, rule.name, slots)


def _here(slots: int) -> dict[str, Any]:
    """What a measurement holds for."""
    installed = {name: version for name, version in versions().items() if name in _PACKAGES}
    return {"slots": slots, "machine": describe(), "versions": installed}


def _fastest(speeds: list[Speed], usual: str, slots: int) -> Choice:
    """The fastest; the usual one where it is as good as that, since measurements differ from day to day."""
    best = max(speeds, key=lambda speed: speed.tokens_per_second)
    same = next((s for s in speeds if s.engine == usual), best)
    taken = best if best.tokens_per_second > _CLEARLY * same.tokens_per_second else same
    ranked = sorted(speeds, key=lambda speed: -speed.tokens_per_second)
    figures = ", ".join(f"{speed.engine} {speed.tokens_per_second:.0f}" for speed in ranked)
    why = "the fastest" if taken is best else "as fast as any, and the usual one"
    return Choice(taken.engine, f"{taken.engine} is {why} here: {figures} tokens/s with {slots} answers at once")


def _prompts(tokenizer: Tokenizer, context: int | None, count: int) -> list[tuple[int, ...]]:
    """Texts that begin differently, so that nothing of one is known from another."""
    num_tokens = min(_PROMPT_TOKENS, (context or _CONTEXT) // 4)
    return [tuple(tokenizer.encode(f"{number}, {_TEXT}")[:num_tokens]) for number in range(count)]


def _measure(name: str, file: Path, prompts: Sequence[tuple[int, ...]]) -> Speed:
    """A few seconds of answers, to all prompts but the first at once."""
    began = time.monotonic()
    with EngineProcess(name, file, _CONTEXT, len(prompts) - 1) as process:
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
