"""Telling texts apart as a subject of training: an encoder with a new head learns a label for each text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from setsail.base.artifact import Artifact
from setsail.base.device import compute_dtype
from setsail.base.errors import ModelError
from setsail.compress.check_classifier import LabelProbe, LabelReference
from setsail.data.row import Row
from setsail.evaluate.question import choose_rows
from setsail.models.classifier import limit_length, new_classifier
from setsail.stages.data import Parts
from setsail.stages.examples import Examples, examples_of
from setsail.stages.stage import Voyage
from setsail.stages.subject import NATS_PER_ROW, Subject
from setsail.tasks.classify import label_order, make_batch
from setsail.tokens.pack import Example, pack
from setsail.tokens.tokenizer import Tokenizer
from setsail.train.classification import CLASSIFICATION, document_logits

MICRO_BATCH_TOKENS = 4096  # no logits to hold for each token: larger products are faster
MOST_VALIDATION_ROWS = 512
UNKNOWN_TOLD, UNKNOWN_REFUSED = 0.05, 0.33  # shares of the tokens that the base's tokenizer does not know


def classifier_subject(voyage: Voyage, base: Artifact, tokenizer: Tokenizer, parts: Parts) -> Subject:
    """Texts with labels, as the encoder's own tokenizer writes them."""
    recipe, labels = voyage.recipe, label_order([row.label for row in parts.train])
    index = {label: number for number, label in enumerate(labels)}
    _require_known_words(voyage, tokenizer, parts.train[:1000])
    context = context_of(voyage, base)

    def load(folder: Path) -> PreTrainedModel:
        return new_classifier(folder, labels, dtype=compute_dtype(), seed=recipe.seed)

    def examples(rows: Sequence[Row]) -> Examples:
        return examples_of(rows, tokenizer, recipe, context=context)

    def validate(model: PreTrainedModel, validation: Examples) -> dict[str, float]:
        logits = logits_of(model, validation.examples, index)
        right = np.array([index[example.label] for example in validation.examples])
        peaks = logits.max(axis=1)
        nats = np.log(np.exp(logits - peaks[:, None]).sum(axis=1)) + peaks - logits[np.arange(len(right)), right]
        return {NATS_PER_ROW.key: float(nats.mean()), "accuracy": float((logits.argmax(axis=1) == right).mean())}

    def observe(model: PreTrainedModel) -> Mapping[str, Any]:
        return _observe(model.float(), voyage, examples(parts.test), parts.test, labels).as_json()

    return Subject(
        objective=CLASSIFICATION,
        measure=NATS_PER_ROW,
        most_validation_rows=MOST_VALIDATION_ROWS,
        micro_batch_tokens=MICRO_BATCH_TOKENS,
        load=load,
        examples=examples,
        batch=lambda members: make_batch(members, index),
        validate=validate,
        finish=lambda folder: limit_length(folder, context),
        show=lambda example: f"{tokenizer.decode(example.ids, skip_special=False)} → ⟦{example.label}⟧",
        observe=observe,
    )


def context_of(voyage: Voyage, base: Artifact) -> int:
    """The longest text in tokens: what the recipe says, and never more than the base has positions."""
    wanted, there = voyage.recipe.training.context, int(base.metrics["context"])
    if wanted > there:
        voyage.log.say(f"  the context is {there} tokens: this base has no more positions ({wanted} were asked for)")
    return min(wanted, there)


def _require_known_words(voyage: Voyage, tokenizer: Tokenizer, rows: Sequence[Row]) -> None:
    """Tells, or refuses, texts that the base cannot read: English bases know few Chinese characters.

    Raises: ModelError where a third of the tokens are unknown.
    """
    unknown = tokenizer.token_id(tokenizer.named.get("unk_token", ""))
    ids = [token for row in rows for token in tokenizer.encode(row.text)]
    share = ids.count(unknown) / max(1, len(ids)) if unknown is not None else 0.0
    told = f"{share:.0%} of the tokens are unknown to the base {voyage.recipe.base_name}"
    if share > UNKNOWN_REFUSED:
        raise ModelError(
            f"{told}: it cannot read these texts, for instance {_as_read(tokenizer, rows[0])}",
            place=voyage.loaded.place("base"),
            hint="take a base of the texts' language: bert-base-chinese, or XLM-RoBERTa for a hundred of them",
        )
    if share > UNKNOWN_TOLD:
        voyage.log.say(f"! {told}")


def _as_read(tokenizer: Tokenizer, row: Row) -> str:
    return tokenizer.decode(tokenizer.encode(row.text), skip_special=False)[:80]


def logits_of(model: PreTrainedModel, examples: Sequence[Example], labels: Mapping[str, int]) -> np.ndarray:
    """Logits [N, C] of the examples, in their order, from packed rows."""
    longest = max((len(example.ids) for example in examples), default=0)
    logits = np.zeros((len(examples), len(labels)))
    for members in pack(examples, max(longest, MICRO_BATCH_TOKENS), "scoring"):
        found = document_logits(model, make_batch([examples[index] for index in members], labels))
        logits[members] = found.double().cpu().numpy()
    return logits


def _observe(
    model: PreTrainedModel, voyage: Voyage, made: Examples, rows: Sequence[Row], labels: Sequence[str]
) -> LabelReference:
    """The trainer's logits on up to `check.prompts` held-out texts that fit the context whole."""
    by_row = {example.row_id: example for example in made.examples if not example.change}
    fitting = [row for row in rows if row.id in by_row]
    chosen = choose_rows(fitting, voyage.recipe.check.prompts, seed=voyage.recipe.seed)
    examples = [replace(by_row[row.id], label=labels[0]) for row in chosen]  # the label plays no part
    logits = logits_of(model, examples, {label: number for number, label in enumerate(labels)})
    probes = tuple(
        LabelProbe(row.id, row.text, tuple(int(token) for token in example.ids), tuple(values.tolist()))
        for row, example, values in zip(chosen, examples, logits, strict=True)
    )
    return LabelReference(tuple(labels), probes)
