"""Opening an engine on an artefact: which file, which engine, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from setsail.base.artifact import Artifact
from setsail.base.log import Log
from setsail.base.recipe import Recipe
from setsail.engine.batch import Completion, generate_all
from setsail.engine.contract import GenerationRequest
from setsail.engine.process import EngineProcess
from setsail.engine.registry import choose
from setsail.stages.kinds import tokenizer_of
from setsail.tokens.render import Rendered

PLAIN = "q8_0"  # of a base whose tuned model has a precision of its own
SLOTS = 32  # answers at once where nobody waits for a single one


@dataclass(frozen=True)
class ModelFile:
    """A model file or folder, the engine that reads it, and the sentence that says why that one."""

    path: Path
    engine: str
    why: str


def file_to_serve(artifact: Artifact, recipe: Recipe, engine: str | None = None) -> ModelFile:
    """What is served of an artefact: its first GGUF file, or the folder itself; by the engine named or chosen."""
    files = [f"model-{weights}.gguf" for weights in (recipe.export.weights[0], PLAIN)]
    path = next((artifact.path / name for name in files if name in artifact.manifest.files), artifact.path)
    wanted = engine or recipe.serve.engine
    if wanted != "auto":
        return ModelFile(path, wanted, "you named it")
    choice = choose(path)
    return ModelFile(path, choice.name, choice.reason)


def context_of(recipe: Recipe) -> int:
    """The tokens that a prompt and its answer may have together when served."""
    return recipe.serve.context or max(2048, recipe.training.context + recipe.serve.max_tokens)


def open_process(file: ModelFile, recipe: Recipe, *, slots: int | None = None, grammars: bool = False) -> EngineProcess:
    """A watched child process with the model, not yet started."""
    num_slots = slots or recipe.serve.slots
    return EngineProcess(file.engine, file.path, context_of(recipe), num_slots, grammars=grammars)


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
