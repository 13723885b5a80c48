"""What a recipe may say of searching: how an encoder learns vectors of texts (embed), or to order them (rank)."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from setsail.base.recipe_part import Number, Part, PositiveFloat


class Search(Part):
    """How queries learn to find their texts.

    `scale` multiplies cosines before they compete; `symmetric` lets texts find their queries as well. `negatives` are
    the texts without a grade that BM25 finds for each training query of task rank.
    """

    scale: PositiveFloat = 20.0
    symmetric: bool = False
    negatives: Annotated[int, Number, Field(ge=1, le=100)] = 7


# Two pairs are copies only where every word is the same: many queries may share a text, and many texts a query.
_DATA = {"near_duplicates": 1.0, "overlong": "cut"}
_FINETUNE = {"method": "full", "context": 256, "weight_decay": 0.01}
SEARCH_DEFAULTS: dict[str, dict[str, dict[str, Any]]] = {
    "embed": {
        "data": _DATA,
        "finetune": {**_FINETUNE, "epochs": 2, "batch_tokens": 8192},
        "evaluate": {"max_rows": 10_000},
    },
    "rank": {
        "data": _DATA,
        "finetune": {**_FINETUNE, "epochs": 2, "batch_tokens": 4096},
        "evaluate": {"max_rows": 1000},
    },
}
