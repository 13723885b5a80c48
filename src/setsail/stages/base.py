"""The base stage: whatever the recipe calls a base becomes a folder that every later stage reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from setsail.base.artifact import Artifact
from setsail.base.errors import ModelError
from setsail.models.load import import_base, resolve_base
from setsail.stages.stage import StageSpec, Voyage, make
from setsail.tokens.shape import with_chosen_template
from setsail.tokens.template import read_template
from setsail.tokens.tokenizer import Tokenizer, load

CONTENT = "weights_sha256"


def make_base(voyage: Voyage) -> Artifact:
    """The base model as a Hugging Face folder, its chat template replaced where the recipe names one."""
    recipe = voyage.recipe
    name = _local(recipe.base, voyage.loaded.folder)
    try:
        source = resolve_base(name)
    except ModelError as error:
        place = voyage.loaded.place("base")
        raise ModelError(f"base {recipe.base}: {error.message}", place=place, hint=error.hint) from error
    template = None if recipe.template is None else read_template(recipe.template, folder=voyage.loaded.folder)

    def build(draft: Path) -> Mapping[str, Any]:
        info = import_base(name, draft, voyage.log)
        if template is not None:
            with_chosen_template(load(draft), template).save(draft)
        return asdict(info)

    spec = StageSpec(
        kind="base",
        recipe={"base": recipe.base, "template": recipe.template},
        parents={},
        facts={"fingerprint": source.fingerprint, "template": template},
    )
    return make(voyage, spec, build)


def tokenizer_of(artifact: Artifact) -> Tokenizer:
    """The tokenizer, with its chat template, of a model folder."""
    return load(artifact.path)


def _local(base: str, folder: Path) -> str:
    """A path of the recipe is relative to the recipe."""
    beside = folder / base
    return str(beside) if beside.exists() else base
