"""Sharing rows out into train, validation and test, so that no group stands in two of them.

Groups are taken in the order of a hash of seed and group: a row's part depends on neither the order of the file nor
the clock, and mostly stays when rows are added. What does not live here: what a group is (`prepare.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from setsail.base.errors import DataError
from setsail.data.row import Row


@dataclass(frozen=True)
class Parts:
    """The three parts; each keeps the order in which the rows came."""

    train: tuple[Row, ...]
    validation: tuple[Row, ...]
    test: tuple[Row, ...]


def split(rows: Sequence[Row], *, validation: float, test: float, seed: int) -> Parts:
    """The rows shared out by group; a row without a group is its own.

    Raises:
        DataError: there are fewer groups than parts.
    """
    sizes: dict[str, int] = {}
    for row in rows:
        sizes[_group(row)] = sizes.get(_group(row), 0) + 1
    wanted = {"test": round(test * len(rows)), "validation": round(validation * len(rows))}
    wanted = {
        name: max(1, count) for name, count in wanted.items() if {"test": test, "validation": validation}[name] > 0
    }
    if len(sizes) <= len(wanted):
        raise DataError(
            f"{len(rows):,} rows fall into {len(sizes)} groups, too few for {len(wanted) + 1} parts",
            hint="name another column in data.split.by, or leave it out",
        )
    order = sorted(sizes, key=lambda group: _rank(group, seed))
    # The largest group is for training: were it held out, little would be left to learn from.
    largest = max(order, key=lambda group: sizes[group])
    part_of = {largest: "train"}
    for place, (name, count) in enumerate(wanted.items(), start=1):
        free = [group for group in order if group not in part_of]
        part_of.update(dict.fromkeys(_take(free, sizes, count, spare=len(wanted) - place), name))
    parts = Parts(
        *(tuple(r for r in rows if part_of.get(_group(r), "train") == n) for n in ("train", "validation", "test"))
    )
    _check(parts, len(rows))
    return parts


def sample(rows: Sequence[Row], count: int, *, seed: int) -> tuple[list[Row], list[Row]]:
    """`count` rows chosen by the hash of their ids, and the others; both keep their order."""
    ranked = sorted(rows, key=lambda row: _rank(row.id, seed))
    chosen = {row.id for row in ranked[:count]}
    return [row for row in rows if row.id in chosen], [row for row in rows if row.id not in chosen]


def _take(free: Sequence[str], sizes: dict[str, int], count: int, *, spare: int) -> list[str]:
    """Groups in hash order that fit in what is left to take, or the smallest; at least `spare` groups stay free."""
    chosen: list[str] = []
    left = count
    for group in free:
        if not left or len(chosen) == len(free) - spare:
            break
        if sizes[group] <= left:
            chosen.append(group)
            left -= sizes[group]
    return chosen or [min(free, key=lambda group: sizes[group])]


def _group(row: Row) -> str:
    return row.group or f"\0{row.id}"


def _rank(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\0{name}".encode()).digest()


def _check(parts: Parts, num_rows: int) -> None:
    groups = [{_group(row) for row in part} for part in (parts.train, parts.validation, parts.test)]
    assert not (groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2]), "a group stands in two parts"
    assert sum(map(len, (parts.train, parts.validation, parts.test))) == num_rows, "the split lost or doubled a row"
    assert parts.train, "the split left nothing to train on"
