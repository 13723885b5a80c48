"""Every figure of the page, as plain values that `data.json` holds and a page is set from.

What does not live here: where they come from (`gather.py`, `measure.py`). The invariant: text from the data is already
what `shown.py` made of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from setsail.base.errors import ArtifactError
from setsail.base.files import explained_os_errors

FIGURES = "data.json"


@dataclass(frozen=True)
class Licence:
    """A licence's name and where it is written; "" where none is stated."""

    name: str = ""
    stated_in: str = ""


@dataclass(frozen=True)
class File:
    """How one part of the source was understood: its columns by what they were taken for, and those not used."""

    place: str
    container: str
    encoding: str
    form: str
    num_records: int
    columns: Mapping[str, str]
    unused: tuple[str, ...]
    num_unused: int


@dataclass(frozen=True)
class Source:
    """Where the rows come from; `files` are the first few, `kinds` counts all files by how they were understood."""

    name: str
    fingerprint: str
    licence: Licence
    files: tuple[File, ...]
    num_files: int
    kinds: Mapping[str, int]


@dataclass(frozen=True)
class Reason:
    """Why rows were dropped: the reason's name, how many, and where the first of them stood."""

    name: str
    num_rows: int
    first: tuple[str, ...]


@dataclass(frozen=True)
class Example:
    """What a step changed in a row."""

    step: str
    origin: str
    before: str
    after: str


@dataclass(frozen=True)
class Cluster:
    """Rows that say the same: where the one that stays stood, how many there were in all, and how it begins."""

    origin: str
    num_rows: int
    excerpt: str


@dataclass(frozen=True)
class Copies:
    """Rows that were dropped because another one says the same, exactly and nearly, and the largest clusters."""

    num_exact: int
    num_near: int
    clusters: tuple[Cluster, ...]


@dataclass(frozen=True)
class Label:
    """A label and how many rows of train, validation and test have it."""

    name: str
    num_rows: tuple[int, int, int]


@dataclass(frozen=True)
class Lengths:
    """Characters of N rows. `buckets` are [from, rows]: each goes up to where the next begins."""

    num_characters: int
    median: int
    percentile_95: int
    longest: int
    buckets: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Sample:
    """A row to read: its first turns as (role, text); the role of a plain text is "text"."""

    id: str
    origin: str
    label: str
    marks: tuple[str, ...]
    turns: tuple[tuple[str, str], ...]
    num_turns: int


@dataclass(frozen=True)
class PartFigures:
    """One part as it is stored. `scripts` counts characters, `made` rows by the way in which they were made."""

    name: str
    num_rows: int
    lengths: Lengths
    scripts: Mapping[str, int]
    num_groups: int
    num_in_groups: int
    largest_group: int
    made: Mapping[str, int]
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class Figures:
    """All of it. `steps` are (name, rows left), `split` is how rows were shared out and by which column.

    `redact` is what was done with personal data of the kinds `looked_for`; `redacted` counts the values of each.
    """

    source: Source
    num_read: int
    steps: tuple[tuple[str, int], ...]
    dropped: tuple[Reason, ...]
    changed: Mapping[str, int]
    examples: tuple[Example, ...]
    redact: str
    looked_for: tuple[str, ...]
    redacted: Mapping[str, int]
    num_masked_rows: int
    copies: Copies
    split: tuple[str, str]
    parts: tuple[PartFigures, ...]
    labels: tuple[Label, ...]
    num_labels: int
    findings: tuple[str, ...]

    @property
    def num_kept(self) -> int:
        """Rows of the source that are in a part."""
        return self.num_read - sum(reason.num_rows for reason in self.dropped)

    @property
    def num_made(self) -> int:
        """Rows made from training rows."""
        return sum(sum(part.made.values()) for part in self.parts)


def write_figures(folder: Path, figures: Figures) -> None:
    """Writes data.json."""
    with explained_os_errors(f"writing {FIGURES}"):
        text = json.dumps(asdict(figures), ensure_ascii=False, indent=1)
        (folder / FIGURES).write_text(text + "\n", encoding="utf-8")


def read_figures(path: Path) -> Figures:
    """The figures that `write_figures` wrote.

    Raises:
        ArtifactError: the file holds something else.
    """
    try:
        return TypeAdapter(Figures).validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ArtifactError(
            f"not the figures of prepared rows: {where}: {first['msg']}",
            place=str(path),
            hint="prepare the data again: setsail prepare RECIPE",
        ) from error
