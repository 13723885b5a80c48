"""Sums drawn by a seed, with one right answer each; the draw is a hash, so that it is the same on every machine."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass

NUM_SUMS = 32
SEED = 1

# Half of each eight are additions of one digit, and so on: a small model can do some of them and not all.
_LEVELS = (("+", 9, 9),) * 4 + (("-", 18, 9), ("×", 9, 9), ("+", 90, 90), ("-", 90, 90))


@dataclass(frozen=True)
class Sum:
    """What is asked, for instance "17 + 5", and what it comes to."""

    asked: str
    answer: int


def sums(number: int = NUM_SUMS, seed: int = SEED) -> tuple[Sum, ...]:
    """So many different sums; no answer is negative."""
    drawn: dict[str, Sum] = {}
    for index in itertools.count():
        if len(drawn) == number:
            break
        each = _draw(len(drawn) % len(_LEVELS), f"{seed}:{index}")
        drawn.setdefault(each.asked, each)
    return tuple(drawn.values())


def _draw(level: int, name: str) -> Sum:
    digest = hashlib.sha256(name.encode()).digest()
    operator, most_left, most_right = _LEVELS[level]
    left, right = 1 + digest[0] % most_left, 1 + digest[1] % most_right
    if operator == "-":
        left, right = max(left, right), min(left, right)
    results = {"+": left + right, "-": left - right, "×": left * right}
    return Sum(f"{left} {operator} {right}", results[operator])
