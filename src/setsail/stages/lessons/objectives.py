"""What each kind of model learns from rows, in one place: a decoder goes on, an encoder fills in, seq2seq writes spans.

A lesson holds everything in which the kinds differ on the way from a row to a loss; what trains and what scores is
given one and knows no kind. What does not live here: the lesson of saying something of a text (`reading.py`). The
invariant: a batch is a function of the examples, its members and the name of its draw.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from torch import Tensor
from transformers import PreTrainedModel

from setsail.base.device import compute_dtype
from setsail.base.errors import ModelError, RecipeError
from setsail.base.recipe import MASK, Kind, Pretrain, Recipe, Spans
from setsail.compress.check_values import ValueReference
from setsail.data.row import Row
from setsail.models.load import load_model
from setsail.stages.lessons.samples import filled, rewritten, written
from setsail.tasks.registry import PASSAGE
from setsail.tokens.corrupt import cut_out, hide_spans, hide_tokens, mask_out, span_counts
from setsail.tokens.pack import Arrange, Example, make_batch, pack_lengths, side_by_side
from setsail.tokens.pad import PairBatch, pad_pairs, similar
from setsail.tokens.tokenizer import Tokenizer
from setsail.train.loss import NEXT_TOKEN
from setsail.train.masked import MASKED, masked_logits
from setsail.train.objective import Batch, Objective
from setsail.train.plan import Plan
from setsail.train.spans import SPANS, span_logits

Lengths = npt.NDArray[np.int32]  # [examples], in tokens
Measure = Literal["bits_per_byte", "bits_per_masked_byte", "nats_per_row", "nats_per_pair"]


MICRO_BATCH_TOKENS = 1024  # a packed row; larger ones took more memory and were hardly faster (docs/log.md)
MOST_VALIDATION_ROWS = 32  # enough for a curve; the evaluation at the end takes the whole test


@dataclass(frozen=True)
class Lesson:
    """How a kind of model learns from rows.

    `reads` names what makes examples of a row: a task, "passage" or "preference". `draw` says which of an example's
    tokens are learned this time, `arrange` which examples stand together, by the `sizes` that their lengths come to,
    and `collate` puts them there; `num_targets` counts or expects what gives a loss. `samples` shows what the model
    makes of a few texts. `logits` are those of a batch's targets by the model's own forward, where the model restores
    what was hidden. `load` makes the model of a base's folder. `validate` gives figures of examples, `measure` the
    first of them, where they are not what the text costs. `finish` makes of learned weights those that are saved.
    `context` is the most tokens of an example where it is not the recipe's.

    `shown` marks what is learned of an example for a person, `explain` says more of a plan, `write_beside` puts files
    beside the saved weights, and `observe` gives what the trainer says of held-out rows, where the kinds' own ways do
    not fit.

    Units: `measure` is bits per UTF-8 byte of what is learned: of the whole text, or of the part of it that is hidden.
    The second is no smaller scale of the first: what is hidden is told by what stands on both sides of it. Where a row
    is one thing to learn it is nats per row or pair. `micro_batch_tokens` is the size of a packed row.
    """

    kind: Kind
    objective: Objective
    measure: Measure
    reads: str
    draw: Callable[[Example, str], Example]
    collate: Callable[[Sequence[Example]], Batch]
    samples: Callable[[PreTrainedModel, Sequence[str]], list[str]] = lambda model, texts: []
    arrange: Arrange = pack_lengths
    sizes: Callable[[Lengths], Lengths] = lambda lengths: lengths
    num_targets: Callable[[Lengths, Lengths], npt.NDArray[Any]] = lambda lengths, num_supervised: num_supervised
    logits: Callable[[PreTrainedModel, Any], Tensor] | None = None
    load: Callable[[Path], PreTrainedModel] = lambda folder: load_model(folder, dtype=compute_dtype())
    validate: Callable[[PreTrainedModel, Sequence[Example]], Mapping[str, float]] | None = None
    finish: Callable[[PreTrainedModel], None] = lambda model: None
    context: int | None = None
    micro_batch_tokens: int = MICRO_BATCH_TOKENS
    most_validation_rows: int = MOST_VALIDATION_ROWS
    shown: Callable[[Example], Example] = lambda example: example
    explain: Callable[[Plan], list[str]] = lambda plan: []
    write_beside: Callable[[Path], None] = lambda folder: None
    observe: Callable[[PreTrainedModel, Sequence[Row], int], ValueReference] | None = None

    def batch(self, examples: Sequence[Example], members: Sequence[int], draw: str) -> Batch:
        """The batch of some of the examples, each drawn by its own name."""
        return self.collate([self.draw(examples[index], f"{draw}:{index}") for index in members])

    def drawn(self, examples: Sequence[Example], draw: str) -> list[Example]:
        """All of the examples, each drawn as in a batch."""
        return [self.draw(example, f"{draw}:{index}") for index, example in enumerate(examples)]


def lesson_of(recipe: Recipe, kind: Kind, tokenizer: Tokenizer) -> Lesson:
    """The lesson of a recipe for a base of this kind.

    Raises:
        RecipeError: the recipe asks this kind of model for what it cannot do.
        ModelError: the tokenizer has no tokens to hide others with.
    """
    if kind == "decoder":
        _check_corruption(recipe.pretrain, kind)
        return Lesson(
            kind=kind,
            objective=NEXT_TOKEN,
            measure="bits_per_byte",
            reads=recipe.task,
            draw=lambda example, draw: example,
            collate=make_batch,
            samples=partial(written, tokenizer=tokenizer, task=recipe.task, seed=recipe.seed),
        )
    if recipe.pretrain is None:
        what = {"encoder": "an encoder, which fills in and does not answer", "seq2seq": "a seq2seq model"}[kind]
        hint = "write pretrain to go on with plain text, or take a decoder"
        if kind == "seq2seq":
            hint += "; with task translate, summarize or rewrite it learns pairs of texts"
        raise RecipeError(f"{recipe.base_name} is {what}: fine-tuning is for decoders", place="base", hint=hint)
    _check_corruption(recipe.pretrain, kind)
    return (_masked if kind == "encoder" else _spans)(recipe, recipe.pretrain, tokenizer)


def _check_corruption(pretrain: Pretrain | None, kind: Kind) -> None:
    try:
        if pretrain is not None:
            pretrain.refuse_unused_corruption(kind)
    except ValueError as error:
        raise RecipeError(str(error), place="pretrain") from error


def _num_marks(tokenizer: Tokenizer) -> int:
    """The tokens around a passage, which are never hidden."""
    return len(tokenizer.text_start_ids) + len(tokenizer.text_end_ids)


def _masked(recipe: Recipe, pretrain: Pretrain, tokenizer: Tokenizer) -> Lesson:
    mask_id, share, marks = tokenizer.mask_id, pretrain.mask or MASK, _num_marks(tokenizer)
    if mask_id is None:
        hint = "its tokenizer_config.json names none as mask_token"
        raise ModelError("the tokenizer has no mask token, so that nothing can be hidden", place="base", hint=hint)

    def collate(examples: Sequence[Example]) -> Batch:
        return side_by_side([mask_out(each, mask_id) for each in examples], [each.row_id for each in examples])

    return Lesson(
        kind="encoder",
        objective=MASKED,
        measure="bits_per_masked_byte",
        reads=PASSAGE,
        draw=lambda example, draw: hide_tokens(example, share, draw),
        num_targets=lambda lengths, _: np.maximum(1.0, share * (lengths - marks)),
        collate=collate,
        samples=partial(filled, tokenizer=tokenizer),
        logits=masked_logits,
    )


def _spans(recipe: Recipe, pretrain: Pretrain, tokenizer: Tokenizer) -> Lesson:
    spans, sentinels, end_id = pretrain.spans or Spans(), tokenizer.sentinel_ids, tokenizer.eos_id
    if not sentinels or end_id is None:
        what = "sentinel tokens <extra_id_0>, <extra_id_1> …" if not sentinels else "eos token"
        raise ModelError(f"the tokenizer has no {what}, so that no span can be cut out", place="base")

    marks = _num_marks(tokenizer)

    def counts(num_tokens: int) -> tuple[int, int]:
        return span_counts(num_tokens, spans.corrupt, spans.mean_length)

    def sizes(lengths: Lengths) -> Lengths:
        """How many tokens are read and written: all of them, each sentinel twice, and the end."""
        return lengths + np.array([2 * counts(length - marks)[1] + 1 for length in lengths.tolist()], dtype=np.int32)

    def num_targets(lengths: Lengths, _: Lengths) -> Lengths:
        return np.array([sum(counts(length - marks)) + 1 for length in lengths.tolist()], dtype=np.int32)

    def collate(examples: Sequence[Example]) -> PairBatch:
        return pad_pairs([cut_out(each, sentinels, end_id) for each in examples], [each.row_id for each in examples])

    most = counts(pretrain.context)[1]
    if most > len(sentinels):
        raise RecipeError(
            f"a row of {pretrain.context:,} tokens has {most} spans, the tokenizer has {len(sentinels)} sentinels",
            place="pretrain.context",
            hint="lower pretrain.context or pretrain.spans.corrupt, or raise pretrain.spans.mean_length",
        )
    return Lesson(
        kind="seq2seq",
        objective=SPANS,
        measure="bits_per_masked_byte",
        reads=PASSAGE,
        draw=lambda example, draw: hide_spans(example, spans.corrupt, spans.mean_length, draw),
        arrange=similar,
        sizes=sizes,
        num_targets=num_targets,
        collate=collate,
        samples=partial(rewritten, tokenizer=tokenizer),
        logits=span_logits,
    )
