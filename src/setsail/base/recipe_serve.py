"""What a recipe may say of the log of answers: where it is kept, under which key, and how long."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from setsail.base.recipe_part import Number, Part


class Answers(Part):
    """The log of answers, encrypted, from which `setsail feedback` makes rows; one word in its place is the folder.

    The key is in `key_file`, or else in the variable SETSAIL_ANSWERS_KEY. Days in UTC are deleted as a whole once they
    are more than `days` old. With `redact` a record is first treated as `data.redact` treats rows.
    """

    folder: Annotated[str, Field(min_length=1)]
    key_file: str | None = None
    days: Annotated[int, Number, Field(ge=1, le=3650)] = 30
    redact: bool = True

    @model_validator(mode="before")
    @classmethod
    def _a_word_is_the_folder(cls, value: Any) -> Any:
        return {"folder": value} if isinstance(value, str) else value
