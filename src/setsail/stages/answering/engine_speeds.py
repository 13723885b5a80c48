"""Which engine answers fastest on this machine: measured once, kept in the run, and used by every later start.

A start must not wait for a measurement, so that `chosen_by_speed` only reads what stands there, and falls back on the
registry's rule when it is of other files, another machine, other versions or another number of slots.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from setsail.base.artifact import Artifact
from setsail.base.errors import ArtifactError
from setsail.base.machine import describe, versions
from setsail.base.run import Run
from setsail.engine.registry import Choice, able, choose

KIND = "speeds"
FILE = f"{KIND}.json"
_PACKAGES = ("openvino-genai", "xllamacpp")
_CLEARLY = 1.2  # a faster engine than the rule's is taken where it is so many times as fast


@dataclass(frozen=True)
class Speed:
    """What one engine wrote in a second, all slots together, the reading of the prompts included."""

    engine: str
    tokens_per_second: float
    load_seconds: float


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
        chosen = fastest([speed for speed in speeds if speed.engine in able(file)], rule.name, slots)
    except (ArtifactError, OSError, ValueError, TypeError, KeyError, AttributeError):
        return rule
    return chosen if told == measured_for(slots) and found.manifest.parents.get("served") in known else rule


def measured_for(slots: int) -> dict[str, Any]:
    """What a measurement holds for."""
    installed = {name: version for name, version in versions().items() if name in _PACKAGES}
    return {"slots": slots, "machine": describe(), "versions": installed}


def fastest(speeds: Sequence[Speed], usual: str, slots: int) -> Choice:
    """The fastest; the usual one where it is as good as that, since measurements differ from day to day.

    Raises: ValueError where there is none.
    """
    best = max(speeds, key=lambda speed: speed.tokens_per_second)
    same = next((s for s in speeds if s.engine == usual), best)
    taken = best if best.tokens_per_second > _CLEARLY * same.tokens_per_second else same
    ranked = sorted(speeds, key=lambda speed: -speed.tokens_per_second)
    figures = ", ".join(f"{speed.engine} {speed.tokens_per_second:.0f}" for speed in ranked)
    why = "the fastest" if taken is best else "as fast as any, and the usual one"
    return Choice(taken.engine, f"{taken.engine} is {why} here: {figures} tokens/s with {slots} answers at once")
