"""What every part of a recipe is made of: the frozen model and the kinds of numbers.

The parts themselves live in `recipe.py` and `recipe_data.py`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _not_a_truth_value(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("should be a number, not true or false")
    return value


Number = BeforeValidator(_not_a_truth_value)
Fraction = Annotated[float, Number, Field(ge=0.0, lt=1.0)]
PositiveInt = Annotated[int, Number, Field(ge=1)]
PositiveFloat = Annotated[float, Number, Field(gt=0.0, allow_inf_nan=False)]
Share = Annotated[float, Number, Field(gt=0.0, lt=1.0)]


class Part(BaseModel):
    """A part of a recipe: unknown keys are errors, values do not change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)
