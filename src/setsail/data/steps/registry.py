"""The steps by name and the presets: what `data.clean` may say, and what it means.

A step's module has `Options`, a frozen pydantic model of what a recipe may set, and `step(options) -> Step`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from pydantic import ValidationError

from setsail.base.errors import RecipeError, did_you_mean
from setsail.data.steps.step import Step

# Each name's module under setsail.data.steps; the module imports its libraries.
STEPS: dict[str, str] = {}

# In the order in which they are applied.
PRESETS: dict[str, tuple[str | Mapping[str, Mapping[str, Any]], ...]] = {"none": ()}


def steps_of(clean: str | Sequence[str | Mapping[str, Mapping[str, Any]]]) -> tuple[Step, ...]:
    """The steps that `data.clean` names: a preset, or a list of names, each with its options or without.

    Raises:
        RecipeError: an unknown preset, step or option, with the nearest name.
    """
    if isinstance(clean, str):
        if clean not in PRESETS:
            raise RecipeError(
                f'data.clean "{clean}" is not a preset', place="data.clean", hint=did_you_mean(clean, list(PRESETS))
            )
        clean = PRESETS[clean]
    return tuple(_step_of(entry) for entry in clean)


def _step_of(entry: str | Mapping[str, Mapping[str, Any]]) -> Step:
    name, options = (entry, {}) if isinstance(entry, str) else next(iter(entry.items()))
    if name not in STEPS:
        raise RecipeError(f'data.clean names a step "{name}"', place="data.clean", hint=did_you_mean(name, list(STEPS)))
    module = import_module(f"setsail.data.steps.{STEPS[name]}")
    try:
        return module.step(module.Options(**options))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in ("data.clean", name, *first["loc"]))
        raise RecipeError(f"{key}: {first['msg']}", place=key, hint=", ".join(module.Options.model_fields)) from error
