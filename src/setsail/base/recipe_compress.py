"""What a recipe may say of making a model smaller: a teacher whose student it is, and what is taken out of a base."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from setsail.base.recipe_part import Number, Part, PositiveFloat


class Distil(Part):
    """Learning from a teacher as well: a finished and checked run, or a model folder, with the same tokenizer.

    `weight` is the share of what the teacher says in the loss, the rows' own targets have the rest; `temperature` above
    1 lets the teacher's less likely choices count for more. `hidden` is how much counts besides that the last hidden
    states point where the teacher's do; it wants a teacher as wide as the student.

    Source: Hinton et al. 2015 (arXiv 1503.02531); of `hidden` Sanh et al. 2019, DistilBERT (arXiv 1910.01108).
    """

    teacher: Annotated[str, Field(min_length=1)]
    weight: Annotated[float, Number, Field(gt=0.0, le=1.0)] = 0.5
    temperature: PositiveFloat = 2.0
    hidden: Annotated[float, Number, Field(ge=0.0)] = 0.0


# Tasks whose students learn from what a teacher says of a word, a label, a score, a tag or the place of an answer.
DISTILLED_TASKS = ("chat", "text", "classify", "relate", "regress", "grade", "tag", "answer", "embed", "rank")
_OF_TEXTS_BESIDE = ("embed", "rank")  # their students learn how close texts are to each other


def refuse_unfit_teacher(task: str, distil: Distil | None, *, prefers: bool) -> None:
    """Raises: ValueError where a task has no distribution that a student could learn."""
    if distil is None:
        return
    if task not in DISTILLED_TASKS:
        raise ValueError(f"distil is for the tasks {', '.join(DISTILLED_TASKS)}; with task {task} leave it out")
    if distil.hidden and task in _OF_TEXTS_BESIDE:
        raise ValueError(f"distil.hidden: with task {task} only what is said of the texts is compared; leave it out")
    if prefers:
        raise ValueError("pairs of answers are compared, which a teacher's words are not: leave finetune.distil out")


def _share_or_count(value: object) -> object:
    """A share of all as 0.75 or 1.0, or a count as 12: `1` is one, `1.0` is all."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("should be a share such as 0.75, or a count such as 12")
    if value <= 0:
        raise ValueError("nothing would be left: a share is above 0, a count at least 1")
    if isinstance(value, float) and value > 1:
        raise ValueError("a share is at most 1.0, and a count is a whole number")
    return value


Kept = Annotated[float | int, BeforeValidator(_share_or_count)]


class Prune(Part):
    """A base with parts taken out: what is kept of another base, or of a checked run's model, as shares or counts.

    `layers` are whole blocks, `heads` attention heads, `feed_forward` the channels between two feed-forward matrices.
    What goes is what does least on so many `rows` of the recipe's training rows.
    """

    prune: Annotated[str, Field(min_length=1)]
    layers: Kept | None = None
    heads: Kept | None = None
    feed_forward: Kept | None = None
    rows: Annotated[int, Number, Field(ge=1)] = 64

    @model_validator(mode="after")
    def _takes_something_out(self) -> Prune:
        if self.layers is self.heads is self.feed_forward is None:
            raise ValueError("say what is kept: layers, heads or feed_forward, such as layers: 0.75")
        return self


class Compress(Part):
    """How `export.weights: mixed` chooses: the smallest file that costs at most the share `max_loss` more nats.

    Nats are of the answers (or texts) of so many `rows` of validation, beside the weights as they are.
    """

    max_loss: Annotated[float, Number, Field(gt=0.0, le=1.0)] = 0.01
    rows: Annotated[int, Number, Field(ge=1)] = 32
