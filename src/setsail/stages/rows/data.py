"""The data stage: from the recipe's source to train, validation and test rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from setsail.base.artifact import Artifact
from setsail.base.environment import secret_of
from setsail.base.errors import DataError, RecipeError
from setsail.base.log import Log
from setsail.base.recipe_data import Augment, Server, Split
from setsail.data.page.figures import FIGURES, read_figures
from setsail.data.prepare import prepare
from setsail.data.privacy.options import key_mark
from setsail.data.rewrite import Ask
from setsail.data.row import Message, Row, read_rows
from setsail.data.sources import fingerprint
from setsail.serve.client import Client
from setsail.stages.stage import StageSpec, Voyage, make

ASKED = "asked"  # the kind of artefact that holds rows of a later file
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
            task=recipe.reads,
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
        recipe={"task": recipe.reads, "seed": recipe.seed, "data": recipe.data.model_dump(mode="json")},
        parents={},
        facts={"source": source, "keys": key_mark(recipe.data, folder)},
        version=7,  # with what a text is said to be beside its label
        resumable=True,
    )
    return make(voyage, spec, build)


def make_asked(voyage: Voyage, source: str) -> Artifact:
    """The rows of a source that a finished model is asked, all of them as a test; relative paths start here.

    They are read, cleaned and masked as the rows that it learned from; none is made, and none left out for another.
    """
    recipe, folder = voyage.recipe, Path.cwd()
    left_out = {"augment": Augment(), "split": Split(), "keep_out": (), "forget": None, "vault": None, "max_rows": None}
    data = recipe.data.model_copy(update={"source": source, **left_out})
    print_of_source = fingerprint(data, folder)

    def build(draft: Path) -> Mapping[str, Any]:
        options = {"task": recipe.reads, "seed": recipe.seed, "language": recipe.language}
        return prepare(data, base_dir=folder, out=draft, log=voyage.log, all_to_test=True, **options).as_dict()

    spec = StageSpec(
        kind=ASKED,
        recipe={"task": recipe.reads, "seed": recipe.seed, "data": data.model_dump(mode="json")},
        parents={},
        facts={"source": print_of_source, "keys": key_mark(data, folder)},
    )
    return make(voyage, spec, build)


def asking(server: Server | None, log: Log) -> Ask | None:
    """Reaches the model that writes training rows anew; None where none is named.

    Raises:
        RecipeError: the key that the recipe names is not there.
    """
    if server is None:
        return None
    client = client_of(server, place="data.augment.server")
    log.say(f"  training rows are sent to {server.url} to be written anew, as they stand after data.redact")

    def ask(messages: Sequence[Message], seed: int) -> str:
        said = [{"role": message["role"], "content": message["content"]} for message in messages]
        answer = client.chat(said, model=server.model, temperature=_TEMPERATURE, seed=seed, max_tokens=_MOST_TOKENS)
        return answer.text if answer.finish_reason == "stop" else ""

    return ask


def client_of(server: Server, *, place: str) -> Client:
    """A client of a server that a recipe names at this place.

    Raises:
        RecipeError: the key that the recipe names is not there.
    """
    api_key = secret_of(server.key_env) if server.key_env else None
    if server.key_env and not api_key:
        raise RecipeError(
            f"the environment variable {server.key_env} is empty",
            place=f"{place}.key_env",
            hint=f"export {server.key_env}=…",
        )
    return Client(server.url.rstrip("/").removesuffix("/v1"), api_key=api_key)


def read_parts(artifact: Artifact) -> Parts:
    """The rows of a data artefact, in their stored order."""
    return Parts(*(read_rows(artifact.file(f"{part}.parquet")) for part in PARTS))
