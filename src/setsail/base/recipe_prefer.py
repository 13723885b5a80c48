"""What a recipe may say of learning from pairs of answers, one of which is preferred."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from setsail.base.recipe_part import Number, Part, PositiveFloat

PREFERENCE = "preference"  # as what the rows of such a recipe are read, and the name of their format


class Prefer(Part):
    """Direct preference optimisation: from pairs, the model learns to prefer the chosen answer to the rejected one.

    `beta` says how dear it is to leave the base: smaller values let the model go farther. `sft` is the weight of also
    learning the chosen answer itself, per token, which keeps its own probability from falling.

    Source: Rafailov et al. 2023 (arXiv 2305.18290); `sft` is the alpha of Pang et al. 2024 (arXiv 2404.19733).
    """

    beta: PositiveFloat = 0.1
    sft: Annotated[float, Number, Field(ge=0.0, allow_inf_nan=False)] = 0.0
