"""One engine for all runs whose adapters lie on the same base, with caches alike: its weights are in memory once.

A request chooses by its model; the base itself answers through the same engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from setsail.base.recipe import Recipe
from setsail.base.run import Run
from setsail.engine.process import EngineProcess
from setsail.stages.answering.engines import ModelFile, context_of, file_to_serve


@dataclass(frozen=True)
class Shared:
    """The engine that a run shares, and the number of its adapter there."""

    file: ModelFile
    process: EngineProcess
    number: int

    def start(self) -> None:
        """Starts the engine, which the first of its runs does. Raises: ModelError, UserError, SystemRefusal."""
        if self.number == 0:
            self.process.start()


def shared_engines(runs: Sequence[tuple[Run, Recipe]], engine: str | None) -> dict[Path, Shared]:
    """By a run's folder, the engine for it; runs without an adapter have none. Nothing is started yet.

    The engine has room for the longest context and the most slots among its runs.

    Raises: UserError for an engine that takes no adapters.
    """
    by_base: dict[tuple[str, str], list[tuple[Run, Recipe, ModelFile]]] = {}
    for run, recipe in runs:
        if recipe.export.adapter:
            served = run.artifact("gguf")
            file = file_to_serve(served, recipe, engine)
            kept = served.manifest.files[file.path.name]["sha256"], file.special.cache
            by_base.setdefault(kept, []).append((run, recipe, file))
    shared: dict[Path, Shared] = {}
    for group in by_base.values():
        first = group[0][2]
        context = max(context_of(recipe) for _, recipe, _ in group)
        slots = max(recipe.serve.slots for _, recipe, _ in group)
        adapters = tuple(adapter for _, _, file in group for adapter in file.special.adapters)
        special = replace(first.special, adapters=adapters, adapter=None)
        process = EngineProcess(first.engine, first.path, context, slots, grammars=True, special=special)
        for number, (run, _, file) in enumerate(group):
            shared[run.path] = Shared(file, process, number)
    return shared
