"""Making one artefact: recognise it, or build it in a draft, publish it, and note it as current."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from setsail.base.artifact import Artifact, folder_name, identity, open_artifact, open_draft, parents_of, publish
from setsail.base.errors import DamagedArtifact
from setsail.base.files import explained_os_errors
from setsail.base.log import Log, duration
from setsail.base.recipe import Recipe
from setsail.base.recipe_file import LoadedRecipe
from setsail.base.run import Run
from setsail.stages.lookout import NOBODY, Lookout
from setsail.train.parallel import ALONE, World


@dataclass(frozen=True)
class Voyage:
    """One recipe on its way: what is wanted, where it is put, who is told, and how many processes train."""

    loaded: LoadedRecipe
    run: Run
    log: Log
    world: World = ALONE
    lookout: Lookout = NOBODY

    @property
    def recipe(self) -> Recipe:
        return self.loaded.recipe


@dataclass(frozen=True)
class StageSpec:
    """What a stage's identity is made of. `version` changes when the stage's code would make something else."""

    kind: str
    recipe: Mapping[str, Any]
    parents: Mapping[str, Artifact]
    facts: Mapping[str, Any]
    version: int = 1
    resumable: bool = False


def make(voyage: Voyage, spec: StageSpec, build: Callable[[Path], Mapping[str, Any]]) -> Artifact:
    """The artefact of a stage: the one that stands, verified, or a new one.

    `build` fills the draft folder and returns the metrics of the manifest. A draft survives only where the stage can go
    on from it.
    """
    parents = parents_of(**spec.parents)
    id = identity(spec.kind, spec.recipe, parents, {**spec.facts, "stage_version": spec.version})
    fresh = _standing(voyage, spec.kind, id)
    if fresh is not None:
        voyage.log.say(f"✓ {spec.kind:<10} unchanged, taken from {fresh.path}")
        voyage.run.note(spec.kind, fresh)
        return fresh
    voyage.log.say(f"▸ {spec.kind}")
    started = time.monotonic()
    draft = open_draft(voyage.run.path, spec.kind, id, keep=spec.resumable)
    try:
        with explained_os_errors(f"making {spec.kind}"):
            metrics = {**build(draft), "seconds": round(time.monotonic() - started, 2)}
    except BaseException:
        if not spec.resumable:
            shutil.rmtree(draft, ignore_errors=True)
        raise
    artifact = publish(draft, kind=spec.kind, id=id, parents=parents, recipe=spec.recipe, metrics=metrics)
    voyage.run.note(spec.kind, artifact)
    voyage.log.say(f"✓ {spec.kind:<10} {artifact.path}  ({duration(time.monotonic() - started)})")
    return artifact


def _standing(voyage: Voyage, kind: str, id: str) -> Artifact | None:
    folder = voyage.run.path / folder_name(kind, id)
    if not folder.exists():
        return None
    try:
        return open_artifact(folder)
    except DamagedArtifact as error:
        voyage.log.say(f"! {kind}: {error.message} ({folder}); it is made again")
        return None
