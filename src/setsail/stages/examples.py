"""Rows as examples: what fits, what was cut or left out and why, and what a model pays for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from transformers import PreTrainedModel

from setsail.base.recipe import Recipe
from setsail.data.row import Row
from setsail.tasks.registry import find_task
from setsail.tasks.task import Dropped
from setsail.tokens.pack import Example, make_batch, pack
from setsail.tokens.tokenizer import Tokenizer
from setsail.train.loss import row_nats

_TOKENS_AT_ONCE = 4096


@dataclass(frozen=True)
class Examples:
    """Examples of some rows. `num_bytes` is the UTF-8 length of the supervised text, special tokens left out."""

    examples: list[Example]
    cut: tuple[str, ...]
    left_out: Mapping[str, int]
    first_left_out: tuple[str, ...]
    num_bytes: int

    def explain(self, part: str) -> list[str]:
        """A sentence for each reason for which rows were left out."""
        return [
            f"{count:,} {part} rows left out: {reason}; for instance {', '.join(self.first_left_out[:3])}"
            for reason, count in self.left_out.items()
        ]


def examples_of(rows: Sequence[Row], tokenizer: Tokenizer, recipe: Recipe, *, context: int | None = None) -> Examples:
    """Every row as the recipe's task renders it in its context, or a shorter one; nothing left out in silence."""
    context = context or recipe.training.context
    task = find_task(recipe.task)
    examples: list[Example] = []
    cut: list[str] = []
    left_out: Counter[str] = Counter()
    names: list[str] = []
    for row in rows:
        made = task.example(row, tokenizer, context, recipe.data.overlong)
        if isinstance(made, Dropped):
            left_out[made.reason] += 1
            names.append(row.origin)
            continue
        examples += made
        if any(example.change for example in made):
            cut.append(row.id)
    num_bytes = sum(_supervised_bytes(example, tokenizer) for example in examples)
    return Examples(examples, tuple(cut), dict(left_out), tuple(names), num_bytes)


def nats_of(model: PreTrainedModel, examples: Sequence[Example]) -> list[float]:
    """What the model pays for each example's supervised tokens, in nats, in the examples' order."""
    longest = max((len(example.ids) for example in examples), default=0)
    nats = [0.0] * len(examples)
    for members in pack(examples, max(longest, _TOKENS_AT_ONCE), "scoring"):
        values = row_nats(model, make_batch([examples[index] for index in members]))
        for index, (value, _) in zip(members, values, strict=True):
            nats[index] = value
    return nats


def _supervised_bytes(example: Example, tokenizer: Tokenizer) -> int:
    return len(tokenizer.decode(example.ids[example.loss_mask].tolist()).encode("utf-8"))
