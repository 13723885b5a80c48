"""Opening an engine on an artefact: which file, which engine, and why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from setsail.base.artifact import Artifact
from setsail.base.recipe import Recipe
from setsail.engine.process import EngineProcess
from setsail.engine.registry import choose_engine


@dataclass(frozen=True)
class Choice:
    """An engine for a model file, and the sentence that says why."""

    name: str
    model: Path
    why: str


def model_file(artifact: Artifact, recipe: Recipe) -> Path:
    """What is served of an artefact: its first GGUF file, or the folder itself."""
    first = artifact.path / f"model-{recipe.export.weights[0]}.gguf"
    return first if first.name in artifact.manifest.files else artifact.path


def choose(artifact: Artifact, recipe: Recipe, engine: str | None = None) -> Choice:
    """The engine that the recipe or the caller names, or the one that suits the file."""
    model = model_file(artifact, recipe)
    wanted = engine or recipe.serve.engine
    if wanted != "auto":
        return Choice(wanted, model, "you named it")
    name, why = choose_engine(model)
    return Choice(name, model, why)


def context_of(recipe: Recipe) -> int:
    """The tokens that a prompt and its answer may have together when served."""
    return recipe.serve.context or max(2048, recipe.finetune.context + recipe.serve.max_tokens)


def open_process(choice: Choice, recipe: Recipe, *, slots: int | None = None) -> EngineProcess:
    """A watched child process with the model, not yet started."""
    return EngineProcess(choice.name, choice.model, context=context_of(recipe), slots=slots or recipe.serve.slots)
