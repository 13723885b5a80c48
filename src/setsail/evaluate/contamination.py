"""Test rows that also stand in training, exactly or nearly: counted, named, and taken out before any score.

A score on them would measure memory. What "exactly" and "nearly" mean lives in `data.duplicates`, the same here as in
preparing: content without case, punctuation and spacing; and the Jaccard similarity of runs of five words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from setsail.base.errors import DataError
from setsail.data.duplicates import contaminated, content_of
from setsail.data.row import Row
from setsail.data.sketch import equal_words


@dataclass(frozen=True)
class Contamination:
    """How many test rows there were and were kept; those taken out by id, each with the train row that it repeats."""

    num_test: int
    num_kept: int
    threshold: float
    exact: Mapping[str, str]
    near: Mapping[str, str]


def take_out(
    test_rows: Sequence[Row], train_rows: Sequence[Row], *, threshold: float
) -> tuple[list[Row], Contamination]:
    """The test rows that training has not seen, and the account of the others.

    Raises: DataError if training has seen every one: there is nothing left that a score would mean anything on.
    """
    found = contaminated(test_rows, train_rows, threshold)
    known = {row.id: row for row in (*train_rows, *test_rows)}
    words = dict(zip(known, equal_words([content_of(row) for row in known.values()]), strict=True))
    copies = {row for row, original in found.items() if words[row] == words[original]}
    kept = [row for row in test_rows if row.id not in found]
    if test_rows and not kept:
        raise DataError(
            f"each of the {len(test_rows)} test rows also stands in train, exactly ({len(copies)}) or nearly "
            f"({len(found) - len(copies)}): a score on them would measure memory",
            hint="add rows that differ, or name with data.split.by the column whose values must not be shared",
        )
    account = Contamination(
        num_test=len(test_rows),
        num_kept=len(kept),
        threshold=threshold,
        exact={row: train for row, train in found.items() if row in copies},
        near={row: train for row, train in found.items() if row not in copies},
    )
    return kept, account
