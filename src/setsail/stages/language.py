"""Language as a subject of training: every supervised token is to be foreseen from those before it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedModel

from setsail.base.device import compute_dtype
from setsail.base.recipe import Recipe
from setsail.models.load import load_model
from setsail.stages.data import Parts
from setsail.stages.examples import Examples, examples_of, nats_of
from setsail.stages.probes import observe_trainer
from setsail.stages.subject import BITS_PER_BYTE, Subject
from setsail.tokens.pack import Example, make_batch
from setsail.tokens.render import describe as describe_runs
from setsail.tokens.tokenizer import Tokenizer
from setsail.train.loss import NEXT_TOKEN

MICRO_BATCH_TOKENS = 1024  # a packed row; larger ones took more memory and were hardly faster (docs/log.md)
MOST_VALIDATION_ROWS = 32  # enough for a curve; the evaluation at the end takes the whole test


def language_subject(recipe: Recipe, tokenizer: Tokenizer, parts: Parts) -> Subject:
    """Conversations or plain texts, of which the answers or all tokens are learned."""

    def show(example: Example) -> str:
        runs = describe_runs(example, tokenizer)
        return "".join(f"⟦{part}⟧" if supervised else part for part, supervised in runs)

    def observe(model: PreTrainedModel) -> Mapping[str, Any]:
        return observe_trainer(recipe, model, tokenizer, parts.test).as_json()

    return Subject(
        objective=NEXT_TOKEN,
        measure=BITS_PER_BYTE,
        most_validation_rows=MOST_VALIDATION_ROWS,
        micro_batch_tokens=MICRO_BATCH_TOKENS,
        load=lambda folder: load_model(folder, dtype=compute_dtype()),
        examples=lambda rows: examples_of(rows, tokenizer, recipe),
        batch=make_batch,
        validate=_bits_per_byte,
        finish=lambda folder: None,
        show=show,
        observe=observe,
    )


def _bits_per_byte(model: PreTrainedModel, validation: Examples) -> dict[str, float]:
    """Bits per byte of the validation rows' answers."""
    nats = sum(nats_of(model, validation.examples))
    return {BITS_PER_BYTE.key: nats / math.log(2) / validation.num_bytes}
