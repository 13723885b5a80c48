"""What a recipe may say of the search for a better one: how long, how many at once, and what is tried.

Which settings there are to try is said by the task and lives with the stage that searches (`stages/search/space.py`).
"""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from setsail.base.errors import did_you_mean
from setsail.base.recipe_part import Number, Part, PositiveFloat, PositiveInt


class Between(Part):
    """All numbers from `low` to `high`; with `log`, each power of ten is as likely as the next."""

    low: float
    high: float
    log: bool = False


def _to_try(value: object) -> Between | tuple[Any, ...]:
    """What is tried of one setting: a list of values, or a range of numbers."""
    if isinstance(value, Between | tuple):
        return value
    if isinstance(value, list):
        return _choices(value)
    if not isinstance(value, dict):
        raise ValueError("should be a list of values, or a range such as {low: 1e-5, high: 1e-3, log: true}")
    known = list(Between.model_fields)
    for key in value:
        if key not in known:
            raise ValueError(f'a range has no "{key}": {did_you_mean(str(key), known)}')
    return _range(value)


def _choices(values: list[Any]) -> tuple[Any, ...]:
    if not values:
        raise ValueError("there is nothing to choose from: the list is empty")
    if any(values.count(value) > 1 for value in values):
        raise ValueError("a value stands in the list twice: each is tried as often as it deserves")
    return tuple(values)


def _range(value: dict[str, Any]) -> Between:
    ends = [value.get("low"), value.get("high")]
    if not all(isinstance(end, int | float) and not isinstance(end, bool) and math.isfinite(end) for end in ends):
        raise ValueError("a range needs two numbers, low and high")
    low, high, log = float(value["low"]), float(value["high"]), value.get("log", False)
    if not isinstance(log, bool):
        raise ValueError("log should be true or false")
    if low >= high:
        raise ValueError(f"low ({low:g}) should be below high ({high:g})")
    if log and low <= 0:
        raise ValueError(f"a range in powers of ten begins above 0, not at {low:g}: leave log out")
    return Between(low=low, high=high, log=log)


class Tune(Part):
    """The search for a better recipe by `setsail tune`: it ends after `budget_minutes` or so many `trials`.

    `parallel` trials run at once, each in a process of its own, as far as what they are predicted to take fits `memory`
    (GiB; the default is what is free). `space` says what is tried in place of what the task suggests: for a key of the
    recipe a list of values, or `{low: 1e-5, high: 1e-3, log: true}`.
    """

    budget_minutes: PositiveFloat | None = None
    trials: PositiveInt | None = None
    parallel: Annotated[int, Number, Field(ge=1, le=64)] = 1
    memory: PositiveFloat | None = None
    space: dict[str, Annotated[Any, BeforeValidator(_to_try)]] = Field(default={})
