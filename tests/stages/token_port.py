"""A run with prepared rows and a base, of which the tokens stage reads only the tokenizer.

As a program, `python -m stages.token_port FOLDER NUM_PROCESSES` makes the tokens of the port in a folder.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokens import toy

from setsail.base.artifact import Artifact, folder_name, identity, open_artifact, open_draft, publish
from setsail.base.log import Log
from setsail.base.recipe_file import load_recipe
from setsail.base.run import Run
from setsail.data import row as row_file
from setsail.data.row import Row, write_rows
from setsail.stages.rows.tokens import make_tokens
from setsail.stages.stage import Voyage
from setsail.tokens.store import FORMAT_VERSION
from setsail.tokens.tokenizer import Tokenizer, load

RECIPE = "name: toy\ntask: text\nbase: base\ndata: {source: rows.jsonl, overlong: split}\nfinetune: {context: 64}\n"
WORDS = "The quick brown fox jumps over the lazy dog and numpy returns the dot product of two arrays 启航 你好"
DATA, BASE = "d" * 64, "b" * 64


def text_rows(count: int) -> list[Row]:
    """Texts of 2 to 60 words, one in fifty empty."""
    chance = random.Random(3)
    rows = []
    for number in range(count):
        text = " ".join(chance.choices(WORDS.split(), k=chance.randrange(2, 60)))
        rows.append(Row(f"{number:016x}", (), text if number % 50 else "", "", f"rows.jsonl:{number + 1}"))
    return rows


@dataclass(frozen=True)
class Port:
    """The run's folder is `run`, beside the recipe."""

    folder: Path
    data: Artifact
    base: Artifact

    @property
    def tokenizer(self) -> Tokenizer:
        return load(self.base.path)

    @property
    def draft(self) -> Path:
        """Where the store is while it is being made."""
        parents = {"base": self.base.id, "data": self.data.id}
        rendering = {"reads": "text", "context": 64, "overlong": "split"}
        id = identity("tokens", rendering, parents, {"store_format": FORMAT_VERSION, "stage_version": 1})
        return self.folder / "run" / f"{folder_name('tokens', id)}.partial"

    def make(self, *settings: str, num_processes: int = 1, log: Log | None = None) -> Artifact:
        loaded = load_recipe(self.folder / "toy.yaml", settings)
        voyage = Voyage(loaded, Run(self.folder / "run"), log or Log(quiet=True))
        reads = loaded.recipe.task
        return make_tokens(voyage, self.base, self.data, self.tokenizer, reads, num_processes=num_processes)


def open_port(
    folder: Path, rows: Sequence[Row], *, group_rows: int = 40, recipe: str = RECIPE, template: str | None = None
) -> Port:
    """Writes a port into a folder, the rows in groups of `group_rows`."""
    folder.mkdir(exist_ok=True)
    (folder / "toy.yaml").write_text(recipe, encoding="utf-8")
    data, base = open_draft(folder / "run", "data", DATA), open_draft(folder / "run", "base", BASE)
    before, row_file.GROUP_ROWS = row_file.GROUP_ROWS, group_rows
    write_rows(data / "train.parquet", rows)
    row_file.GROUP_ROWS = before
    toy.write_folder(base, toy.byte_level(), template=template)
    nothing = {"parents": {}, "recipe": {}, "metrics": {}}
    return Port(folder, publish(data, kind="data", id=DATA, **nothing), publish(base, kind="base", id=BASE, **nothing))


def main(folder: Path, num_processes: int) -> None:
    made = (open_artifact(folder / "run" / folder_name(kind, id)) for kind, id in (("data", DATA), ("base", BASE)))
    Port(folder, *made).make(num_processes=num_processes)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
