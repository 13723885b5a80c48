"""Test rows that also stand in training, exactly or nearly: counted, named, and taken out before any score.

A score on them would measure memory. What "nearly" means lives in `data.duplicates`, the same for cleaning and here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Contamination:
    """How many test rows stood in train, and which: ids of the rows taken out, exact copies and near ones apart."""

    num_test: int
    num_kept: int
    threshold: float
    exact: tuple[str, ...]
    near: tuple[str, ...]
