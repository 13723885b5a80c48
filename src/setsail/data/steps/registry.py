"""The steps by name and the presets: what `data.clean` may say, and what it means.

A step's module has `Options`, a frozen pydantic model of what a recipe may set, and `step(options) -> Step`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from pydantic import ValidationError

from setsail.base.errors import RecipeError, did_you_mean
from setsail.data.steps.step import Step

_Entry = str | Mapping[str, Mapping[str, Any]]  # a step's name, or its name and its options

# Each name's module under setsail.data.steps; the module imports its libraries.
STEPS: dict[str, str] = {
    name: name
    for name in (
        *("line_ends", "html", "control_characters", "unicode_form", "full_width", "chinese_script", "punctuation"),
        *("urls", "repeated_lines", "stop_words", "white_space"),
        *("length", "language", "gopher_quality", "chinese_quality", "gopher_repetition", "c4_quality"),
        "toxicity",
    )
}

# In the order in which they are applied: mark-up first, because what stands behind it may need every other step.
PRESETS: dict[str, tuple[_Entry, ...]] = {
    "none": (),
    "minimal": ("line_ends", "control_characters", "unicode_form"),
    "standard": ("line_ends", "control_characters", "unicode_form", "white_space"),
    "pretraining": (
        "line_ends",
        {"html": {"pages": True}},
        "control_characters",
        {"unicode_form": {"form": "nfkc"}},
        "full_width",
        "repeated_lines",
        "white_space",
        "language",
        "gopher_quality",
        "chinese_quality",
        "gopher_repetition",
        {"c4_quality": {"curly_brackets": True}},
        "toxicity",
    ),
}


def steps_of(clean: str | Sequence[_Entry]) -> tuple[Step, ...]:
    """The steps that `data.clean` names: a preset, or a list of names, each with its options or without.

    A preset in a list stands for its steps: `[html, standard]`.

    Raises:
        RecipeError: an unknown preset, step or option, with the nearest name; a step that is named twice.
    """
    if isinstance(clean, str) and clean not in PRESETS:
        raise RecipeError(f'data.clean "{clean}" is not a preset', place="data.clean", hint=_hint_for_preset(clean))
    entries = _without_presets([clean] if isinstance(clean, str) else clean)
    steps = tuple(_step_of(entry) for entry in entries)
    twice = [name for name, count in Counter(step.name for step in steps).items() if count > 1]
    if twice:
        raise RecipeError(f'data.clean names the step "{twice[0]}" twice', place="data.clean", hint="leave one out")
    return steps


def _hint_for_preset(name: str) -> str:
    return f"for a step alone, write a list: [{name}]" if name in STEPS else did_you_mean(name, PRESETS)


def _without_presets(entries: Sequence[_Entry]) -> list[_Entry]:
    whole: list[_Entry] = []
    for entry in entries:
        whole += PRESETS[entry] if isinstance(entry, str) and entry in PRESETS else [entry]
    return whole


def _step_of(entry: _Entry) -> Step:
    name, options = (entry, {}) if isinstance(entry, str) else next(iter(entry.items()))
    if name not in STEPS:
        raise RecipeError(
            f'data.clean names a step "{name}"', place="data.clean", hint=did_you_mean(name, [*STEPS, *PRESETS])
        )
    module = import_module(f"setsail.data.steps.{STEPS[name]}")
    try:
        return module.step(module.Options(**options))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in ("data.clean", name, *first["loc"]))
        raise RecipeError(f"{key}: {first['msg']}", place=key, hint=", ".join(module.Options.model_fields)) from error
