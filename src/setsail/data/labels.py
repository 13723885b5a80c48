"""Labels over all rows: texts that contradict each other, what is too little to learn from, and a fair split.

What does not live here: reading one label (`formats.py`). The invariant: after `split_labelled` every label stands in
every part that has rows, or the user was told which does not.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from setsail.base.errors import DataError
from setsail.base.recipe import Split
from setsail.data.duplicates import normalised
from setsail.data.row import Drop, Row
from setsail.data.split import Parts, split

MIN_ROWS_PER_LABEL = 5  # one each to validate and to test, and some to learn from
MOST_LABELS = 1000
_SHOWN = 5


def contradictions(rows: Sequence[Row]) -> list[Drop]:
    """Rows whose text, but for case and punctuation, stands under another label too: nobody knows which is right."""
    by_text: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_text[normalised(row.text)].append(row)
    drops = []
    for alike in by_text.values():
        for row in alike:
            other = next((other for other in alike if other.label != row.label), None)
            if other is not None:
                detail = f'"{row.label}" here, "{other.label}" at {other.origin}'
                drops.append(Drop(row.id, row.origin, "contradictory_label", detail))
    return drops


def check_labels(rows: Sequence[Row], place: str) -> list[str]:
    """What is worth telling about the labels.

    Raises:
        DataError: one label only, too many, or one with too few rows; with a row and what to do.
    """
    counts = Counter(row.label for row in rows)
    first = {row.label: row.origin for row in reversed(rows)}
    if len(counts) > MOST_LABELS or 2 * len(counts) > len(rows):
        raise DataError(
            f"{len(rows):,} rows have {len(counts):,} different labels, for instance {_listed(list(first)[:3])}: "
            f"that is more than {'half the rows' if len(counts) <= MOST_LABELS else f'{MOST_LABELS:,}'}",
            place=rows[0].origin,
            hint="a label is one of a few words that come back; name its column: data.columns: {label: …}",
        )
    if len(counts) < 2:
        raise DataError(
            f"every row has the label {_listed(counts)}: there is nothing to tell apart",
            place=f"{place}, first {rows[0].origin}",
            hint="add rows with other labels, or name another column: data.columns: {label: …}",
        )
    few = [label for label in counts if counts[label] < MIN_ROWS_PER_LABEL]
    if few:
        shown = ", ".join(f'"{label}" has {counts[label]} (first {first[label]})' for label in few[:_SHOWN])
        more = f", and {len(few) - _SHOWN} more labels" if len(few) > _SHOWN else ""
        raise DataError(
            f"a label needs at least {MIN_ROWS_PER_LABEL} rows to be learned, validated and tested: {shown}{more}",
            place=first[few[0]],
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


def split_labelled(rows: Sequence[Row], shares: Split, *, seed: int) -> Parts:
    """The rows shared out label by label, so that a rare one stands in every part; whole groups where rows have them.

    Raises:
        DataError: groups leave a label in validation or test that training has never seen.
    """
    settings = {"validation": shares.validation, "test": shares.test, "seed": seed}
    if any(row.group for row in rows):
        parts = split(rows, **settings)
        _refuse_unseen(parts)
        return parts
    by_label: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_label[row.label].append(row)
    each = [split(members, **settings) for members in by_label.values()]
    chosen = ({row.id for part in each for row in getattr(part, name)} for name in ("train", "validation", "test"))
    return Parts(*(tuple(row for row in rows if row.id in ids) for ids in chosen))


def _refuse_unseen(parts: Parts) -> None:
    known = {row.label for row in parts.train}
    for name, part in (("validation", parts.validation), ("test", parts.test)):
        unseen = next((row for row in part if row.label not in known), None)
        if unseen is not None:
            raise DataError(
                f'the label "{unseen.label}" stands in {name} and nowhere in train: all its rows are of one group',
                place=unseen.origin,
                hint="name another column in data.split.by or leave it out, or add rows of other groups",
            )


def _listed(labels: Sequence[str] | Counter[str]) -> str:
    return ", ".join(f'"{label[:60]}"' for label in list(labels)[:_SHOWN])
