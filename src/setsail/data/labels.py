"""Labels over all rows: texts that contradict each other, what is too little to learn from, and a fair split.

What does not live here: reading one label (`formats.py`), the split itself (`choose.py`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from setsail.base.errors import DataError, RecipeError, did_you_mean
from setsail.data.duplicates import exact_copies
from setsail.data.index import PARTS, Index
from setsail.data.sketch import normalised
from setsail.data.split import TEST, TRAIN, VALIDATION, PartCodes

Rows = npt.NDArray[np.int64]

MIN_ROWS_PER_LABEL = 5  # one each to validate and to test, and some to learn from
MOST_LABELS = 1000
_SHOWN = 5


def contradictions(index: Index, rows: Rows) -> dict[int, int]:
    """Rows whose text, but for case and punctuation, stands under another label too, each with such a one.

    Nobody knows which of the labels is right.
    """
    first = exact_copies(index.exact[rows])
    by_text: dict[int, list[int]] = defaultdict(list)
    shared = np.flatnonzero(np.bincount(first, minlength=len(rows)) > 1)
    for place in np.flatnonzero(np.isin(first, shared)):
        by_text[int(first[place])].append(int(rows[place]))
    found = {}
    for alike in by_text.values():
        for row in alike:
            other = next((other for other in alike if index.label[other] != index.label[row]), None)
            if other is not None:
                found[row] = other
    return found


def check_labels(index: Index, rows: Rows, place: str) -> list[str]:
    """What is worth telling about the labels of these rows.

    Raises:
        DataError: one label only, too many, or one with too few rows; with a row and what to do.
    """
    codes, places, numbers = np.unique(index.label[rows], return_index=True, return_counts=True)
    seen = sorted(zip(places.tolist(), codes.tolist(), numbers.tolist(), strict=True))
    counts = Counter({index.labels[code]: number for _, code, number in seen})
    first = {index.labels[code]: int(rows[at]) for at, code, _ in seen}
    if len(counts) > MOST_LABELS or 2 * len(counts) > len(rows):
        raise DataError(
            f"{len(rows):,} rows have {len(counts):,} different labels, for instance {_listed(list(first)[:3])}: "
            f"that is more than {'half the rows' if len(counts) <= MOST_LABELS else f'{MOST_LABELS:,}'}",
            place=index.origin(int(rows[0])),
            hint="a label is one of a few words that come back; name its column: data.columns: {label: …}",
        )
    if len(counts) < 2:
        raise DataError(
            f"every row has the label {_listed(counts)}: there is nothing to tell apart",
            place=f"{place}, first {index.origin(int(rows[0]))}",
            hint="add rows with other labels, or name another column: data.columns: {label: …}",
        )
    few = [label for label in counts if counts[label] < MIN_ROWS_PER_LABEL]
    if few:
        shown = ", ".join(
            f'"{label}" has {counts[label]} (first {index.origin(first[label])})' for label in few[:_SHOWN]
        )
        more = f", and {len(few) - _SHOWN} more labels" if len(few) > _SHOWN else ""
        raise DataError(
            f"a label needs at least {MIN_ROWS_PER_LABEL} rows to be learned, validated and tested: {shown}{more}",
            place=index.origin(first[few[0]]),
            hint="add rows with these labels, join them with a label that is close, or take their rows out",
        )
    shown = ", ".join(f"{label} {count:,}" for label, count in counts.most_common(12))
    findings = [f"{len(counts)} labels: {shown}{', …' if len(counts) > 12 else ''}"]
    return [*findings, *_spellings(counts)]


def _spellings(counts: Counter[str]) -> list[str]:
    """Labels that differ in case, width or punctuation alone are most likely one label."""
    alike: dict[str, list[str]] = defaultdict(list)
    for label in counts:
        alike[normalised(label)].append(label)
    return [
        f"labels that differ in spelling alone are learned apart: {_listed(labels)}"
        for labels in alike.values()
        if len(labels) > 1
    ]


def refuse_unseen(index: Index, rows: Rows, parts: PartCodes) -> None:
    """Refuses a split that leaves a label in validation or test that training has never seen.

    Raises:
        DataError: with the first such row.
    """
    known = np.unique(index.label[rows[parts == TRAIN]])
    for part in (VALIDATION, TEST):
        unseen = rows[(parts == part) & ~np.isin(index.label[rows], known)]
        if len(unseen):
            row = int(unseen[0])
            raise DataError(
                f'the label "{index.label_of(row)}" stands in {PARTS[part]} and nowhere in train: '
                "all its rows are of one group",
                place=index.origin(row),
                hint="name another column in data.split.by or leave it out, or add rows of other groups",
            )


def refuse_unknown(index: Index, rows: Rows, no_relation: Sequence[str], *, task: str) -> None:
    """Raises: RecipeError where `no_relation` names what no row has, or all relations, or another task is meant."""
    place = "data.no_relation"
    if no_relation and task != "relate":
        raise RecipeError(f"task {task} says nothing of two names", place=place, hint="leave it out, or task: relate")
    there = {index.labels[code] for code in np.unique(index.label[rows])} if no_relation else set()
    for label in no_relation:
        if label not in there:
            raise RecipeError(f'no row has the relation "{label}"', place=place, hint=did_you_mean(label, there))
    if there and there <= set(no_relation):
        raise RecipeError("every relation of the rows stands there: there is nothing to find", place=place)


def _listed(labels: Sequence[str] | Counter[str]) -> str:
    return ", ".join(f'"{label[:60]}"' for label in list(labels)[:_SHOWN])
