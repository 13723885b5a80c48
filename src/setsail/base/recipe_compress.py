"""What a recipe may say of making a model smaller: a teacher whose student it is."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from setsail.base.recipe_part import Number, Part, PositiveFloat


class Distil(Part):
    """Learning from a teacher as well: a finished and checked run, or a model folder, with the same tokenizer.

    `weight` is the share of what the teacher says in the loss, the rows' own targets have the rest; `temperature` above
    1 lets the teacher's less likely choices count for more.

    Source: Hinton et al. 2015 (arXiv 1503.02531).
    """

    teacher: Annotated[str, Field(min_length=1)]
    weight: Annotated[float, Number, Field(gt=0.0, le=1.0)] = 0.5
    temperature: PositiveFloat = 2.0


# Tasks whose students learn from what a teacher says of a word, a label, a score or a tag.
DISTILLED_TASKS = ("chat", "text", "classify", "relate", "regress", "tag")


def refuse_unfit_teacher(task: str, distil: Distil | None, *, prefers: bool) -> None:
    """Raises: ValueError where a task has no distribution that a student could learn."""
    if distil is None:
        return
    if task not in DISTILLED_TASKS:
        raise ValueError(f"distil is for the tasks {', '.join(DISTILLED_TASKS)}; with task {task} leave it out")
    if prefers:
        raise ValueError("pairs of answers are compared, which a teacher's words are not: leave finetune.distil out")
