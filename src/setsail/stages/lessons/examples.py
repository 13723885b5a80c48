"""The examples of rows with the account of what became of each row, and what a model pays for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice

import numpy as np
from transformers import PreTrainedModel

from setsail.base.artifact import Artifact
from setsail.base.recipe import Recipe
from setsail.base.recipe_prefer import PREFERENCE
from setsail.data.row import Row, iterate_rows
from setsail.evaluate.question import choose_rows
from setsail.stages.lessons.objectives import Lesson
from setsail.stages.rows.tokenise import Account, Rendering, examples_from
from setsail.tasks.preference import halves_of
from setsail.tokens.pack import Example
from setsail.tokens.render import describe
from setsail.tokens.tokenizer import Tokenizer

SCORING = "scoring"  # the draw of what is hidden wherever models are compared
_TOKENS_AT_ONCE = 4096


@dataclass(frozen=True)
class Examples:
    """Examples of some rows, and what became of each row."""

    examples: list[Example]
    account: Account
    tokenizer: Tokenizer
    lesson: Lesson

    @cached_property
    def num_bytes(self) -> list[int]:
        """The UTF-8 length of the text scored in each, special tokens left out."""
        return [_supervised_bytes(each, self.tokenizer) for each in self.lesson.drawn(self.examples, SCORING)]


def validation_rows(data: Artifact, lesson: Lesson, recipe: Recipe) -> list[Row]:
    """The rows on which training is validated: a sample of them all, since files often stand sorted by label.

    To rank, the first, since the rows of a query stand together and one part of them says nothing.
    """
    rows = iterate_rows(data.file("validation.parquet"))
    if recipe.task == "rank":
        return list(islice(rows, lesson.most_validation_rows))
    return choose_rows(rows, lesson.most_validation_rows, seed=recipe.seed)


def examples_of(rows: Iterable[Row], tokenizer: Tokenizer, recipe: Recipe, lesson: Lesson) -> Examples:
    """Every row as the lesson reads it, nothing left out in silence."""
    account, rendering = Account(), Rendering.of(recipe, lesson.reads, lesson.context)
    return Examples(list(examples_from(rows, tokenizer, rendering, account)), account, tokenizer, lesson)


def row_nats(
    model: PreTrainedModel, rows: Sequence[Row], tokenizer: Tokenizer, recipe: Recipe, lesson: Lesson
) -> list[float]:
    """What the model pays for each row, in nats; for a plain text longer than the context, window by window.

    The rows are those that `can_be_scored`: of another one nothing is read, and nothing paid.
    """
    account, rendering = Account(), replace(Rendering.of(recipe, lesson.reads, lesson.context), overlong="split")
    examples = list(examples_from(rows, tokenizer, rendering, account))
    by_row = dict.fromkeys((row.id for row in rows), 0.0)
    for example, value in zip(examples, nats_of(model, examples, lesson), strict=True):
        by_row[example.row_id] += value
    return [by_row[row.id] for row in rows]


def runs_of(example: Example, tokenizer: Tokenizer, lesson: Lesson) -> list[tuple[str, bool]]:
    """The runs of text of an example, each with whether it is learned; where a label is, it comes last.

    Of a pair of answers the chosen one is what is learned; the rejected one stands behind it.
    """
    if lesson.reads == PREFERENCE:
        chosen, rejected = halves_of(example)
        refused = describe(rejected, tokenizer)[-1][0]
        return [*describe(chosen, tokenizer), (f"\n≻ {refused}", False)]
    runs = describe(example, tokenizer)
    return [*runs, (" → ", False), (example.label, True)] if example.label else runs


def nats_of(model: PreTrainedModel, examples: Sequence[Example], lesson: Lesson) -> list[float]:
    """What the model pays for each example's supervised tokens, in nats, in the examples' order."""
    sizes = lesson.sizes(np.array([len(example.ids) for example in examples], dtype=np.int32)).tolist()
    nats = [0.0] * len(examples)
    for members in lesson.arrange(sizes, max([*sizes, _TOKENS_AT_ONCE]), SCORING):
        values = lesson.objective.row_nats(model, lesson.batch(examples, members, SCORING))
        for index, (value, _) in zip(members, values, strict=True):
            nats[index] = value
    return nats


def _supervised_bytes(example: Example, tokenizer: Tokenizer) -> int:
    ids = example.ids[example.loss_mask]
    if tokenizer.is_byte_level:
        return int(tokenizer.token_sizes[ids].sum())  # a token may be part of a character
    return len(tokenizer.decode(ids.tolist()).encode("utf-8"))
