"""The figures of a preparation: its books, the copies among its rows, and its finished parts.

What does not live here: measuring a part (`measure.py`). The invariant: every list is bounded, and beside one that is
cut short stands how long it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from setsail.base.recipe_data import Data
from setsail.data.account import Account, PartAccount
from setsail.data.choose import FATES, Choice
from setsail.data.duplicates import content_of
from setsail.data.index import PARTS, Index
from setsail.data.licence import licence_of
from setsail.data.page.figures import (
    Cluster,
    Copies,
    Example,
    Figures,
    File,
    Label,
    Reason,
    Source,
)
from setsail.data.page.measure import LABEL_CHARACTERS, ORIGIN_CHARACTERS, measure
from setsail.data.page.shown import shown
from setsail.data.privacy.registry import kinds_of
from setsail.data.row import ROW_SCHEMA, rows_of
from setsail.data.summary import Summary

MOST_FILES = 18
MOST_COLUMNS = 12
MOST_LABELS = 1000
MOST_FINDINGS = 40
MOST_CLUSTERS = 5
EXCERPT_CHARACTERS = 200
EXAMPLE_CHARACTERS = 300
FINDING_CHARACTERS = 400
_NAME_CHARACTERS = 60


def gather(
    data: Data, base_dir: Path, summary: Summary, *, account: Account, index: Index, choice: Choice, out: Path
) -> Figures:
    """Every figure of the page. The shards of `index` and the finished parts in `out` are read."""
    measured = [measure(out / f"{part}.parquet", part) for part in PARTS]
    labels = _labels([counts for _, counts in measured])
    return Figures(
        source=_source(data, base_dir, summary, account.parts),
        num_read=summary.num_read,
        steps=tuple((step.name, step.num_rows) for step in summary.steps),
        dropped=tuple(_reason(name, count, summary.first_dropped[name]) for name, count in summary.dropped.items()),
        changed=summary.changed,
        examples=_examples(summary),
        redact=data.redact.mode,
        looked_for=() if data.redact.mode == "none" else kinds_of(data.redact.entities),
        redacted=summary.redacted,
        num_masked_rows=account.num_masked_rows,
        copies=_copies(index, choice),
        split=_split(data, index, choice),
        parts=tuple(figures for figures, _ in measured),
        labels=labels[:MOST_LABELS],
        num_labels=len(labels),
        findings=_findings(summary.findings),
    )


def _source(data: Data, base_dir: Path, summary: Summary, parts: Sequence[PartAccount]) -> Source:
    kinds = Counter(", ".join(word for word in (part.container, part.encoding, part.form) if word) for part in parts)
    return Source(
        name=shown(summary.source, ORIGIN_CHARACTERS),
        fingerprint=summary.fingerprint,
        licence=licence_of(data, base_dir),
        files=tuple(map(_file, parts[:MOST_FILES])),
        num_files=len(parts),
        kinds=dict(kinds.most_common(MOST_FILES)),
    )


def _file(part: PartAccount) -> File:
    used = list(part.columns_used.items())[:MOST_COLUMNS]
    return File(
        place=shown(part.place, ORIGIN_CHARACTERS),
        container=part.container,
        encoding=part.encoding,
        form=part.form,
        num_records=part.num_items,
        columns={name: shown(column, _NAME_CHARACTERS) for name, column in used},
        unused=tuple(shown(name, _NAME_CHARACTERS) for name in part.unused[:MOST_COLUMNS]),
        num_unused=len(part.unused),
    )


def _reason(name: str, count: int, first: Sequence[str]) -> Reason:
    return Reason(name, count, tuple(shown(origin, ORIGIN_CHARACTERS) for origin in first))


def _examples(summary: Summary) -> tuple[Example, ...]:
    return tuple(
        Example(step, shown(origin, ORIGIN_CHARACTERS), *(shown(text, EXAMPLE_CHARACTERS) for text in texts))
        for step, examples in summary.examples.items()
        for origin, *texts in examples
    )


def _copies(index: Index, choice: Choice) -> Copies:
    """The copies by the row that stays instead: where that one is a near copy in turn, by the one behind it."""
    exact, near = (choice.fate == FATES.index(name) for name in ("exact_duplicate", "near_duplicate"))
    root = np.where(exact | near, choice.because, np.arange(len(index)))
    while (root[root] != root).any():
        root = root[root]
    copies = np.bincount(root[exact | near], minlength=len(index))
    largest = [row for row in np.argsort(-copies, kind="stable")[:MOST_CLUSTERS].tolist() if copies[row]]
    return Copies(
        num_exact=int(exact.sum()),
        num_near=int(near.sum()),
        clusters=tuple(
            Cluster(shown(index.origin(row), ORIGIN_CHARACTERS), 1 + int(copies[row]), _excerpt(index, row))
            for row in largest
        ),
    )


def _excerpt(index: Index, row: int) -> str:
    shard, at = index.place(row)
    [found] = rows_of(pq.read_table(shard / "rows.parquet", schema=ROW_SCHEMA).slice(at, 1))
    names_are_marked = found.label and found.target  # in words that nobody wrote
    return shown(found.text if names_are_marked else content_of(found), EXCERPT_CHARACTERS)


def _split(data: Data, index: Index, choice: Choice) -> tuple[str, str]:
    """How rows were shared out, as a name of `words.py`, and the column that decided."""
    kept = choice.fate < len(PARTS)
    if (index.part[kept] != "").any():
        return "given", ""
    if data.split.time is not None:
        return "by_time", shown(data.split.time, _NAME_CHARACTERS)
    if data.split.stratify is not None:
        return "stratified", shown(data.split.stratify, _NAME_CHARACTERS)
    if data.split.by is not None:
        return "by_column", shown(data.split.by, _NAME_CHARACTERS)
    return ("in_groups" if index.grouped[kept].any() else "by_chance"), ""


def _labels(counts: Sequence[Mapping[str, int]]) -> tuple[Label, ...]:
    """Every label, the most frequent of train first."""
    names = sorted(set().union(*counts), key=lambda name: (-counts[0].get(name, 0), name))
    return tuple(
        Label(shown(name, LABEL_CHARACTERS), (counts[0].get(name, 0), counts[1].get(name, 0), counts[2].get(name, 0)))
        for name in names
    )


def _findings(findings: Sequence[str]) -> tuple[str, ...]:
    told = tuple(shown(finding, FINDING_CHARACTERS) for finding in findings[:MOST_FINDINGS])
    return (*told, f"… (+{len(findings) - MOST_FINDINGS:,})") if len(findings) > MOST_FINDINGS else told
