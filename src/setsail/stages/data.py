"""The data stage: from the recipe's source to train, validation and test rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from setsail.base.artifact import Artifact
from setsail.base.environment import secret_of
from setsail.base.errors import DataError, RecipeError
from setsail.base.log import Log
from setsail.base.recipe import Server
from setsail.data.page.figures import FIGURES, read_figures
from setsail.data.prepare import prepare
from setsail.data.privacy.options import key_mark
from setsail.data.rewrite import Ask
from setsail.data.row import Row, read_rows
from setsail.data.sources import fingerprint
from setsail.serve.client import Client
from setsail.stages.stage import StageSpec, Voyage, make

PARTS = ("train", "validation", "test")
_TEMPERATURE = 0.7  # of a model that writes rows anew: copies of one row should differ
_MOST_TOKENS = 2048


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
            ask=asking(recipe.data.augment.server, voyage.log),
        )
        licence = read_figures(draft / FIGURES).source.licence.name
        return {**summary.as_dict(), "licence": licence or "not stated"}

    spec = StageSpec(
        kind="data",
        recipe={"task": recipe.task, "seed": recipe.seed, "data": recipe.data.model_dump(mode="json")},
        parents={},
        facts={"source": source, "keys": key_mark(recipe.data, folder)},
        version=6,  # with synonyms and rows that a model writes
        resumable=True,
    )
    return make(voyage, spec, build)


def asking(server: Server | None, log: Log) -> Ask | None:
    """Reaches the model that writes training rows anew; None where none is named.

    Raises:
        RecipeError: the key that the recipe names is not there.
    """
    if server is None:
        return None
    api_key = secret_of(server.key_env) if server.key_env else None
    if server.key_env and not api_key:
        raise RecipeError(
            f"the environment variable {server.key_env} is empty",
            place="data.augment.server.key_env",
            hint=f"export {server.key_env}=…",
        )
    client = Client(server.url.rstrip("/").removesuffix("/v1"), api_key=api_key)
    log.say(f"  training rows are sent to {server.url} to be written anew, as they stand after data.redact")

    def ask(prompt: str, seed: int) -> str:
        message = {"role": "user", "content": prompt}
        answer = client.chat(
            [message], model=server.model, temperature=_TEMPERATURE, seed=seed, max_tokens=_MOST_TOKENS
        )
        return answer.text if answer.finish_reason == "stop" else ""

    return ask


def read_parts(artifact: Artifact) -> Parts:
    """The rows of a data artefact, in their stored order."""
    return Parts(*(read_rows(artifact.file(f"{part}.parquet")) for part in PARTS))
