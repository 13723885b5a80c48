"""The examples of rows with the account of what became of each row, and what a model pays for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from transformers import PreTrainedModel

from setsail.base.recipe import Recipe
from setsail.data.row import Row
from setsail.stages.tokenise import Account, Rendering, examples_from
from setsail.tokens.pack import Example, make_batch, pack
from setsail.tokens.tokenizer import Tokenizer
from setsail.train.loss import row_nats

_TOKENS_AT_ONCE = 4096


@dataclass(frozen=True)
class Examples:
    """Examples of some rows."""

    examples: list[Example]
    account: Account
    tokenizer: Tokenizer

    @cached_property
    def num_bytes(self) -> int:
        """The UTF-8 length of the supervised text, special tokens left out."""
        return sum(_supervised_bytes(example, self.tokenizer) for example in self.examples)


def examples_of(rows: Iterable[Row], tokenizer: Tokenizer, recipe: Recipe) -> Examples:
    """Every row as the recipe's task renders it, nothing left out in silence."""
    account = Account()
    return Examples(list(examples_from(rows, tokenizer, Rendering.of(recipe), account)), account, tokenizer)


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
