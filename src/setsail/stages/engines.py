"""Opening an engine on an artefact: which file, which engine, and why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from setsail.base.artifact import Artifact
from setsail.base.recipe import Recipe
from setsail.engine.process import EngineProcess
from setsail.engine.registry import choose


@dataclass(frozen=True)
class ModelFile:
    """A model file or folder, the engine that reads it, and the sentence that says why that one."""

    path: Path
    engine: str
    why: str


def file_to_serve(artifact: Artifact, recipe: Recipe, engine: str | None = None) -> ModelFile:
    """What is served of an artefact: its first GGUF file, or the folder itself; by the engine named or chosen."""
    first = artifact.path / f"model-{recipe.export.weights[0]}.gguf"
    path = first if first.name in artifact.manifest.files else artifact.path
    wanted = engine or recipe.serve.engine
    if wanted != "auto":
        return ModelFile(path, wanted, "you named it")
    choice = choose(path)
    return ModelFile(path, choice.name, choice.reason)


def context_of(recipe: Recipe) -> int:
    """The tokens that a prompt and its answer may have together when served."""
    return recipe.serve.context or max(2048, recipe.training.context + recipe.serve.max_tokens)


def open_process(file: ModelFile, recipe: Recipe, *, slots: int | None = None) -> EngineProcess:
    """A watched child process with the model, not yet started."""
    return EngineProcess(file.engine, file.path, context_of(recipe), slots or recipe.serve.slots)
