"""A look at a source that somebody names, without writing anything: what it is, and what a recipe for it should say.

What does not live here: writing that recipe (`cli.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from setsail.base.errors import DataError
from setsail.base.recipe_data import Data
from setsail.base.recipe_prefer import PREFERENCE
from setsail.data import sources
from setsail.data.containers import Contents
from setsail.data.duplicates import content_of, exact_copies
from setsail.data.formats import Format, recognise
from setsail.data.pairs import PAIR_FORMATS
from setsail.data.prepare import MIN_ROWS
from setsail.data.reading import Known, columns_of, understand
from setsail.data.row import Drop, Record, Row
from setsail.data.sketch import sketch
from setsail.data.summary import by_reason, reason_sentence

NUM_SAMPLES = 3
# A column of one of these names whose values come back says which rows belong together.
_BELONGING = (
    "user",
    "customer",
    "client",
    "thread",
    "ticket",
    "session",
    "conversation",
    "document",
    "doc",
    "author",
    "case",
)


@dataclass(frozen=True)
class Inspection:
    """What was understood. `format` is None when no format fits; `problems` then says what to write."""

    source: str
    num_files: int
    container: str
    encoding: str
    format: str | None
    columns_found: tuple[str, ...]
    columns: Mapping[str, str]
    num_rows: int
    num_usable: int
    samples: tuple[Row, ...]
    problems: tuple[str, ...]
    task: str
    split_by: str | None


def inspect(path: Path | str, *, base_dir: Path | None = None) -> Inspection:
    """Reads a source and says how it is understood; nothing is written.

    Raises:
        DataError: it is missing, empty, or broken as a whole.
        SystemRefusal: no permission.
    """
    data = Data(source=str(path))
    base = base_dir or Path.cwd()
    contents = list(sources.read(data, base))
    found = tuple(dict.fromkeys(name for _, part in contents for name in columns_of(part.items)))
    problems = list(sources.not_read(data, base))
    try:
        forms = [recognise(columns_of(part.items), place=place) for place, part in contents]
    except DataError as error:
        return _inspection(data, contents, found, None, [], [*problems, str(error)])
    task = _task_for({form.name for form in forms})
    items: list[Row | Drop] = []
    for place, part in contents:
        try:
            found_here = understand(data, place, part, task=task).items
            items += [item.row if isinstance(item, Known) else item for item in found_here]
        except DataError as error:
            problems.append(str(error))
    return _inspection(data, contents, found, forms[0], items, [*problems, *_problems(items)])


def _task_for(formats: set[str]) -> str:
    """What data in these formats is for: labels to classify, pairs to compare, only texts to go on, else answers."""
    if formats and formats <= set(PAIR_FORMATS):
        return "rank" if formats == {"graded"} else "embed"
    if formats == {"text_label"}:
        return "classify"
    if formats == {PREFERENCE}:
        return PREFERENCE
    return "text" if formats <= {"text", "text_label"} else "chat"


def _inspection(
    data: Data,
    contents: Sequence[tuple[str, Contents]],
    found: tuple[str, ...],
    form: Format | None,
    items: Sequence[Row | Drop],
    problems: Sequence[str],
) -> Inspection:
    rows = [item for item in items if isinstance(item, Row)]
    records = [item for _, part in contents for item in part.items if isinstance(item, Record)]
    return Inspection(
        source=data.source,
        num_files=len(contents),
        container=", ".join(dict.fromkeys(part.container for _, part in contents)),
        encoding=", ".join(dict.fromkeys(part.encoding for _, part in contents if part.encoding)),
        format=form.name if form else None,
        columns_found=found,
        columns=dict(form.columns) if form else {},
        num_rows=sum(len(part.items) for _, part in contents),
        num_usable=len(rows),
        samples=tuple(rows[:NUM_SAMPLES]),
        problems=tuple(problems),
        task=_task_for({form.name}) if form else "chat",
        split_by=None if sources.is_package(data) else _split_by(records, found, form),
    )


def _problems(items: Sequence[Row | Drop]) -> list[str]:
    rows = [item for item in items if isinstance(item, Row)]
    counts, origins = by_reason([item for item in items if isinstance(item, Drop)])
    problems = [reason_sentence(reason, counts[reason], origins[reason]) for reason in counts]
    first = exact_copies(sketch([content_of(row) for row in rows], near=False).exact)
    copies = int((first != np.arange(len(rows))).sum())
    if copies:
        problems.append(f"{len(rows):,} rows hold {len(rows) - copies:,} distinct ones; {copies:,} are copies")
    if len(rows) - copies < MIN_ROWS:
        problems.append(f"{len(rows) - copies} usable rows; at least {MIN_ROWS} are needed")
    return problems


def _split_by(records: Sequence[Record], found: Sequence[str], form: Format | None) -> str | None:
    """A column that says which rows belong together: named so, with values that come back, and with enough of them."""
    used = set(form.columns.values()) if form else set()
    for name in found:
        words = name.casefold().replace("-", "_").split("_")
        if name in used or not any(word in _BELONGING for word in words):
            continue
        values = [str(record.fields.get(name)) for record in records if record.fields.get(name) not in (None, "")]
        if MIN_ROWS // 2 <= len(set(values)) < len(values):
            return name
    return None
