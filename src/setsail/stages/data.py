"""The data stage: from the recipe's source to train, validation and test rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from setsail.base.artifact import Artifact
from setsail.base.errors import DataError
from setsail.data.page.figures import FIGURES, read_figures
from setsail.data.prepare import prepare
from setsail.data.privacy.options import key_mark
from setsail.data.row import Row, read_rows
from setsail.data.sources import fingerprint
from setsail.stages.stage import StageSpec, Voyage, make

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Parts:
    """The rows of a data artefact."""

    train: list[Row]
    validation: list[Row]
    test: list[Row]


def make_data(voyage: Voyage) -> Artifact:
    """Prepared rows as Parquet, every dropped row and its reason beside them, and the page to read before training.

    The language of that page is no part of what is recognised: rows need no other model because somebody reads Chinese.
    """
    recipe, folder = voyage.recipe, voyage.loaded.folder
    try:
        source = fingerprint(recipe.data, folder)
    except DataError as error:
        place = error.place or voyage.loaded.place("data.source")
        raise DataError(error.message, place=place, hint=error.hint) from error

    def build(draft: Path) -> Mapping[str, Any]:
        summary = prepare(
            recipe.data,
            task=recipe.task,
            seed=recipe.seed,
            base_dir=folder,
            out=draft,
            log=voyage.log,
            language=recipe.language,
        )
        licence = read_figures(draft / FIGURES).source.licence.name
        return {**summary.as_dict(), "licence": licence or "not stated"}

    spec = StageSpec(
        kind="data",
        recipe={"task": recipe.task, "seed": recipe.seed, "data": recipe.data.model_dump(mode="json")},
        parents={},
        facts={"source": source, "keys": key_mark(recipe.data, folder)},
        version=5,  # with a page to read
        resumable=True,
    )
    return make(voyage, spec, build)


def read_parts(artifact: Artifact) -> Parts:
    """The rows of a data artefact, in their stored order."""
    return Parts(*(read_rows(artifact.file(f"{part}.parquet")) for part in PARTS))
