"""Opening an engine on an artefact: which file, which engine, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from setsail.base.artifact import Artifact
from setsail.base.errors import UserError
from setsail.base.log import Log, size
from setsail.base.recipe import Recipe
from setsail.engine.batch import Completion, generate_all
from setsail.engine.cache import OWN, cache_bytes
from setsail.engine.contract import GenerationRequest, Special
from setsail.engine.gguf_limits import read_limits
from setsail.engine.process import EngineProcess
from setsail.engine.registry import TAKE_ADAPTERS, choose
from setsail.stages.export import ADAPTER, base_name
from setsail.stages.kinds import tokenizer_of
from setsail.tokens.render import Rendered

PLAIN = "q8_0"  # of a base whose tuned model has a precision of its own
SLOTS = 32  # answers at once where nobody waits for a single one


@dataclass(frozen=True)
class ModelFile:
    """A model file or folder, the engine that reads it and why, how fine its cache is, and an adapter on it."""

    path: Path
    engine: str
    why: str
    cache: str = "auto"
    adapter: Path | None = None


def file_to_serve(artifact: Artifact, recipe: Recipe, engine: str | None = None) -> ModelFile:
    """What is served of an artefact: its first GGUF file, or the folder itself; by the engine named or chosen.

    Raises: UserError for an adapter and an engine that takes none.
    """
    if ADAPTER in artifact.manifest.files:
        return _with_adapter(artifact, recipe, engine or recipe.serve.engine)
    files = [f"model-{weights}.gguf" for weights in (recipe.export.weights[0], PLAIN)]
    path = next((artifact.path / name for name in files if name in artifact.manifest.files), artifact.path)
    wanted = engine or recipe.serve.engine
    if wanted != "auto":
        return ModelFile(path, wanted, "you named it", recipe.serve.cache)
    choice = choose(path)
    return ModelFile(path, choice.name, choice.reason, recipe.serve.cache)


def how_served(recipe: Recipe) -> dict[str, Any]:
    """What of the engine decides what it answers, as stages keep it; what a run never said is not there."""
    cache = {} if recipe.serve.cache == "auto" else {"cache": recipe.serve.cache}
    return {"engine": recipe.serve.engine, **cache}


def cache_told(file: ModelFile, recipe: Recipe) -> str:
    """A line on the memory that full slots take; nothing where it is not known."""
    if file.path.is_dir():
        return ""
    context, slots = context_of(recipe), recipe.serve.slots
    most = cache_bytes(read_limits(file.path), file.engine, file.cache, context=context, slots=slots)
    fineness = OWN.get(file.engine, "") if file.cache == "auto" else file.cache
    return "" if most is None else f"cache in {fineness}: at most {size(most)}, {slots} slots of {context:,} tokens"


def _with_adapter(artifact: Artifact, recipe: Recipe, wanted: str) -> ModelFile:
    if wanted not in ("auto", *TAKE_ADAPTERS):
        hint = "leave --engine out, or export the model merged: export.adapter: false"
        raise UserError(f"the engine {wanted} takes no adapter file", place=str(artifact.path), hint=hint)
    base = artifact.file(base_name(recipe.export.weights[0]))
    why = "it puts an adapter on its base"
    return ModelFile(base, TAKE_ADAPTERS[0], why, recipe.serve.cache, artifact.file(ADAPTER))


def context_of(recipe: Recipe) -> int:
    """The tokens that a prompt and its answer may have together when served."""
    return recipe.serve.context or max(2048, recipe.training.context + recipe.serve.max_tokens)


def open_process(file: ModelFile, recipe: Recipe, *, slots: int | None = None, grammars: bool = False) -> EngineProcess:
    """A watched child process with the model, not yet started."""
    num_slots = slots or recipe.serve.slots
    adapters = () if file.adapter is None else (file.adapter,)
    special = Special(cache=file.cache, adapters=adapters)
    process = EngineProcess(file.engine, file.path, context_of(recipe), num_slots, grammars=grammars, special=special)
    process.adapter = 0 if adapters else None
    return process


def answer_all(
    served: Artifact,
    recipe: Recipe,
    prompts: Sequence[Rendered],
    *,
    max_tokens: Sequence[int],
    progress: tuple[Log, str],
) -> list[Completion]:
    """Greedy answers by the engine that will serve the artefact, many at once; `progress` is shown by its name."""
    ends = tokenizer_of(served).eos_ids
    requests = [
        GenerationRequest(tuple(prompt.ids), most, stop_ids=tuple(sorted({prompt.stop_id, *ends})))
        for prompt, most in zip(prompts, max_tokens, strict=True)
    ]
    log, name = progress
    with (
        open_process(file_to_serve(served, recipe), recipe, slots=SLOTS) as process,
        log.progress(name, len(requests)) as shown,
    ):
        return generate_all(process, requests, on_progress=lambda done, total: shown.advance())
