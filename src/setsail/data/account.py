"""What happened to the rows of a piece, in counts that add up over pieces: the books behind every dropped row.

What does not live here: the sentences made of them (`summary.py`).
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from setsail.data.row import Drop

_FIRST_ORIGINS = 3
_EXAMPLES = 3


@dataclass
class PartAccount:
    """How one file, or a piece of it, was understood. `first_broken` is the origin, the reason and the detail."""

    place: str
    container: str
    encoding: str
    form: str
    columns_used: dict[str, str]
    columns: list[str]
    unused: list[str]
    num_items: int
    num_invalid_bytes: int = 0
    num_broken: int = 0
    first_broken: list[str] = field(default_factory=list)


@dataclass
class Account:
    """The books of some rows. `rows_after` counts rows by step in the order of the steps; `changed` counts rows.

    `num_longer` counts conversations that are more than a question and an answer. `examples` are
    [origin, before, after] by step, without personal data.
    """

    parts: list[PartAccount] = field(default_factory=list)
    rows_after: dict[str, int] = field(default_factory=dict)
    changed: Counter[str] = field(default_factory=Counter)
    redacted: Counter[str] = field(default_factory=Counter)
    num_masked_rows: int = 0
    num_longer: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    first_dropped: dict[str, list[str]] = field(default_factory=dict)
    examples: dict[str, list[list[str]]] = field(default_factory=dict)

    def drop(self, drops: Iterable[Drop]) -> None:
        """Enters drops."""
        for drop in drops:
            self.dropped[drop.reason] += 1
            shown = self.first_dropped.setdefault(drop.reason, [])
            if len(shown) < _FIRST_ORIGINS:
                shown.append(drop.origin)

    def wants_example(self, step: str) -> bool:
        """Whether fewer examples of a step are in the books than a reader is shown."""
        return len(self.examples.get(step, ())) < _EXAMPLES

    def as_json(self) -> dict[str, Any]:
        """The account as JSON holds it."""
        return {**vars(self), "parts": [vars(part) for part in self.parts]}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Account:
        """The account that `as_json` gave."""
        counters = {name: Counter(value[name]) for name in ("changed", "redacted", "dropped")}
        parts = [PartAccount(**part) for part in value["parts"]]
        return cls(**{**value, **counters, "parts": parts})


def total(accounts: Sequence[Account]) -> Account:
    """The books of all rows; the pieces of one file become one part again."""
    whole = Account()
    for account in accounts:
        for part in account.parts:
            _enter(whole.parts, part)
        for step, count in account.rows_after.items():
            whole.rows_after[step] = whole.rows_after.get(step, 0) + count
        for name in ("changed", "redacted", "dropped"):
            getattr(whole, name).update(getattr(account, name))
        whole.num_masked_rows += account.num_masked_rows
        whole.num_longer += account.num_longer
        for reason, origins in account.first_dropped.items():
            shown = whole.first_dropped.setdefault(reason, [])
            shown += origins[: _FIRST_ORIGINS - len(shown)]
        for step, examples in account.examples.items():
            kept = whole.examples.setdefault(step, [])
            kept += examples[: _EXAMPLES - len(kept)]
    return whole


def _enter(parts: list[PartAccount], part: PartAccount) -> None:
    last = parts[-1] if parts else None
    if last is None or last.place != part.place:
        parts.append(PartAccount(**copy.deepcopy(vars(part))))
        return
    last.num_items += part.num_items
    last.num_invalid_bytes += part.num_invalid_bytes
    last.num_broken += part.num_broken
    last.first_broken = last.first_broken or part.first_broken
    last.columns += [name for name in part.columns if name not in last.columns]
    last.unused += [name for name in part.unused if name not in last.unused]
