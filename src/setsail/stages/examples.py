"""Rows as examples: what fits, what was cut or left out and why, and what a model pays for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel

from setsail.base.recipe import Recipe
from setsail.data.row import Row
from setsail.stages.objectives import Lesson
from setsail.tasks.task import Dropped
from setsail.tokens.pack import Example
from setsail.tokens.tokenizer import Tokenizer

SCORING = "scoring"  # the draw of what is hidden wherever models are compared
_TOKENS_AT_ONCE = 4096


@dataclass(frozen=True)
class Examples:
    """Examples of some rows. `num_bytes` is the UTF-8 length of the text scored in each, special tokens left out."""

    examples: list[Example]
    cut: tuple[str, ...]
    left_out: Mapping[str, int]
    first_left_out: tuple[str, ...]
    num_bytes: list[int]

    def explain(self, part: str) -> list[str]:
        """A sentence for each reason for which rows were left out."""
        return [
            f"{count:,} {part} rows left out: {reason}; for instance {', '.join(self.first_left_out[:3])}"
            for reason, count in self.left_out.items()
        ]


def examples_of(rows: Sequence[Row], tokenizer: Tokenizer, recipe: Recipe, lesson: Lesson) -> Examples:
    """Every row as the lesson renders it, nothing left out in silence."""
    examples: list[Example] = []
    cut: list[str] = []
    left_out: Counter[str] = Counter()
    names: list[str] = []
    for row in rows:
        made = lesson.example(row, tokenizer, recipe.training.context, recipe.data.overlong)
        if isinstance(made, Dropped):
            left_out[made.reason] += 1
            names.append(row.origin)
            continue
        examples += made
        if any(example.change for example in made):
            cut.append(row.id)
    num_bytes = [_supervised_bytes(example, tokenizer) for example in lesson.drawn(examples, SCORING)]
    return Examples(examples, tuple(cut), dict(left_out), tuple(names), num_bytes)


def nats_of(model: PreTrainedModel, examples: Sequence[Example], lesson: Lesson) -> list[float]:
    """What the model pays for each example's supervised tokens, in nats, in the examples' order."""
    longest = max((len(example.ids) for example in examples), default=0)
    nats = [0.0] * len(examples)
    for members in lesson.arrange(examples, max(longest, _TOKENS_AT_ONCE), SCORING):
        values = lesson.objective.row_nats(model, lesson.batch(examples, members, SCORING))
        for index, (value, _) in zip(members, values, strict=True):
            nats[index] = value
    return nats


def _supervised_bytes(example: Example, tokenizer: Tokenizer) -> int:
    ids = example.ids[example.loss_mask]
    if tokenizer.is_byte_level:
        return int(tokenizer.token_sizes[ids].sum())  # a token may be part of a character
    return len(tokenizer.decode(ids.tolist()).encode("utf-8"))
