"""The forms of a model beside one another: what each is worth, weighs and takes, and which of them fits a target.

What measures them is wired by the caller. The invariant: a form is chosen by the user's own test among those that fit,
and where none fits nothing is chosen.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from setsail.base.errors import CheckRefused, UserError

UNITS = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30, "b": 1}
_TARGET = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>x|b|[kmg]i?b)", re.IGNORECASE)


@dataclass(frozen=True)
class Figure:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Form:
    """One form: a precision of a run's file, or another run's model.

    `score` is of the metric that leads on the test; `gap` is what it has more than the original, row for row. `path` is
    the file or folder. Units: `per_second` tokens written or texts read.
    """

    name: str
    path: str
    size_bytes: int
    peak_bytes: int
    per_second: float
    score: Figure
    gap: Figure | None = None


@dataclass(frozen=True)
class Forms:
    """All forms of one comparison, the original first; `higher` says that more of the metric is better."""

    metric: str
    higher: bool
    unit: Literal["tokens", "texts"]
    num_rows: int
    forms: tuple[Form, ...]

    @property
    def original(self) -> Form:
        return self.forms[0]

    def worth(self, form: Form) -> float:
        """The form's score, more of which is better."""
        return form.score.value if self.higher else -form.score.value

    def is_beaten(self, form: Form, *, by_speed: bool) -> bool:
        """Whether another form is no worse both on the test and in speed or size, and better in one of them."""

        def figures(each: Form) -> tuple[float, float]:
            return self.worth(each), each.per_second if by_speed else -each.size_bytes

        own = figures(form)
        return any(
            all(theirs >= ours for theirs, ours in zip(figures(other), own, strict=True)) and figures(other) != own
            for other in self.forms
        )


@dataclass(frozen=True)
class Target:
    """What a form must come to: at most so many bytes, or at least so many times the original's speed."""

    most_bytes: int | None = None
    times_faster: float | None = None

    def reached(self, form: Form, original: Form) -> float:
        """How far a form has come: 1 where it fits, less where it does not."""
        if self.most_bytes is not None:
            return min(1.0, self.most_bytes / form.size_bytes)
        assert self.times_faster is not None
        return min(1.0, form.per_second / original.per_second / self.times_faster)


def parse_target(text: str) -> Target:
    """A target as people write it.

    >>> parse_target("50MB"), parse_target("2x")
    (Target(most_bytes=50000000, times_faster=None), Target(most_bytes=None, times_faster=2.0))
    """
    found = _TARGET.fullmatch(text.strip())
    if found is None or float(found["number"]) == 0:
        raise UserError(
            f'"{text}" is neither a size nor a speed',
            place="--target",
            hint="--target 50MB for at most so many bytes, --target 2x for at least twice the speed",
        )
    number, unit = float(found["number"]), found["unit"].lower()
    return Target(times_faster=number) if unit == "x" else Target(most_bytes=int(number * UNITS[unit]))


def choose(compared: Forms, target: Target) -> Form:
    """The form that is best on the test of those that fit; of equal ones the smallest.

    Raises: CheckRefused where none fits, with how near the nearest came.
    """
    fitting = [form for form in compared.forms if target.reached(form, compared.original) >= 1]
    if fitting:
        return max(fitting, key=lambda form: (compared.worth(form), -form.size_bytes))
    nearest = max(compared.forms, key=lambda form: target.reached(form, compared.original))
    if target.most_bytes is not None:
        came = f"{nearest.name} has {nearest.size_bytes:,} bytes, {target.most_bytes:,} were asked for"
    else:
        came = f"{nearest.name} is {nearest.per_second / compared.original.per_second:.2f} times as fast"
    raise CheckRefused(
        f"no form comes to the target; nearest, {came}",
        place="--target",
        hint="prune or distil a smaller model (docs/guides/compress.md) and compare it with --with",
    )
