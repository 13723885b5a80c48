"""What a recipe may say of rows that are learned among its own, so that the base does not forget its field."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from setsail.base.recipe_part import Part, PositiveInt, Share


class Mix(Part):
    """Rows of another source, mixed into training alone: conversations, or plain texts even into a chat.

    `share` is their share of all training rows, `task` what they are: what the recipe's own rows are, where nothing is
    said. They are cleaned and masked as the recipe's own; which ones are taken follows from the seed. `max_rows` of the
    source are looked at.
    """

    source: str
    share: Share
    task: Literal["chat", "text"] | None = None
    columns: dict[str, str] = Field(default={})
    max_rows: PositiveInt | None = None
