"""One row's way: the record that it was, what each step did to it, and where it stands now; and rows about a person.

Nothing is noted on the way for this: steps depend on nothing but the text, so that a row's way can be walked again.
What does not live here: which artefacts were made from a row (`stages/rows/tracing.py`).
"""

from __future__ import annotations

import tempfile
import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from setsail.base.recipe_data import Data
from setsail.data import sources
from setsail.data.augment import MARK
from setsail.data.containers import Contents
from setsail.data.index import PARTS
from setsail.data.pieces import plan, read_piece
from setsail.data.privacy.options import redactor_of
from setsail.data.reading import Known, understand
from setsail.data.row import Drop, Record, contents, row_id, with_contents
from setsail.data.steps.registry import steps_of


@dataclass(frozen=True)
class Stand:
    """Where a row stands in a data artefact: its part, or "dropped" with the reason; of a made row, what it is from."""

    id: str
    origin: str
    part: str
    reason: str = ""
    detail: str = ""
    made_from: str = ""


@dataclass(frozen=True)
class Change:
    """What a step did to a row: its texts before and after, or why it was dropped there."""

    step: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    dropped: str = ""


def find_in(folder: Path, names: Collection[str]) -> list[Stand]:
    """Where the rows of these ids or origins stand in prepared data, and the rows that were made from them."""
    found = []
    for part in (*PARTS, "dropped"):
        beside = ["reason", "detail"] if part == "dropped" else ["marks"]
        with pq.ParquetFile(folder / f"{part}.parquet") as file:
            for batch in file.iter_batches(columns=["id", "origin", *beside]):
                found += [_stand(line, part) for line in batch.to_pylist() if _concerns(line, names)]
    return found


def _concerns(line: dict[str, Any], names: Collection[str]) -> bool:
    return line["id"] in names or line["origin"] in names or _made_from(line) in names


def _made_from(line: dict[str, Any]) -> str:
    return next((mark.rpartition(" ")[2] for mark in line.get("marks", ()) if mark.startswith(MARK)), "")


def _stand(line: dict[str, Any], part: str) -> Stand:
    words = {key: str(line.get(key, "")) for key in ("id", "origin", "reason", "detail")}
    return Stand(part=part, made_from=_made_from(line), **words)


def record_at(data: Data, base_dir: Path, origin: str) -> Record | None:
    """The record that stands at an origin in the source as it is now."""
    place = origin.rpartition(":")[0]
    for part, read in _contents(data, base_dir, only=place):
        for item in read.items:
            if item.origin == origin and isinstance(item, Record) and part == place:
                return item
    return None


def walk(data: Data, task: str, record: Record, *, base_dir: Path) -> Iterator[Change]:
    """What every step of preparing that concerns one row alone does to this record, in order."""
    read = Contents("", "", (record,))
    [item] = understand(data, record.origin.rpartition(":")[0], read, task=task).items
    if isinstance(item, Drop):
        yield Change("understood", (), (), dropped=f"{item.reason} ({item.detail})")
        return
    assert isinstance(item, Known)
    texts = contents(item.row)
    yield Change("understood", texts, texts)
    for step in steps_of(data.clean):
        after = tuple(map(step.change, texts)) if step.change else texts
        verdict = step.judge("\n\n".join(texts)) if step.judge else None
        yield Change(step.name, texts, after, dropped=f"{verdict.reason} ({verdict.detail})" if verdict else "")
        if verdict:
            return
        texts = after
    redactor = redactor_of(data.redact, base_dir)
    if redactor is not None:
        yield Change("personal data", texts, redactor(contents(with_contents(item.row, texts))).texts)


def rows_about(data: Data, base_dir: Path, person: str) -> Iterator[tuple[str, str]]:
    """The ids and origins of records that hold a name, a number or any other text, in whatever column."""
    for _, read in _contents(data, base_dir):
        for item in read.items:
            if isinstance(item, Record) and mentions(dict(item.fields), person):
                yield row_id(dict(item.fields), item.origin), item.origin


def mentions(value: object, person: str) -> bool:
    """Whether a text, or any in a list or mapping, holds this one; case, width, spaces and hyphens do not matter.

    >>> mentions({"a": ["ＡＮＮ miller"]}, "Ann Miller")
    True
    """
    return _bare(person) in _bare("\n".join(_texts(value)))


def _bare(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(sign for sign in folded if sign not in " -\t")


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)
    elif value is not None:
        yield str(value)


def _contents(data: Data, base_dir: Path, *, only: str = "") -> Iterator[tuple[str, Contents]]:
    """The source's parts, piece by piece; those of one file where `only` names it."""
    with tempfile.TemporaryDirectory() as scratch:
        files = sources.files_of(data, base_dir, Path(scratch, "fetched"))
        if files is None:
            yield from sources.read(data, base_dir)
            return
        files = [file for file in files if only.startswith(file.place) or not only]
        for task in plan(files, encoding=data.encoding, scratch=Path(scratch)):
            for piece in task:
                yield from read_piece(piece)
