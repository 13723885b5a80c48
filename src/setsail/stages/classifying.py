"""Telling texts apart: the lesson of an encoder with a new head, which learns a label for each text.

What does not live here: the lessons of language models (`objectives.py`). The invariant: a label's place among the
logits follows from the training rows alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
from transformers import PreTrainedModel

from setsail.base.artifact import Artifact
from setsail.base.device import compute_dtype
from setsail.base.errors import ModelError
from setsail.base.recipe import Recipe
from setsail.compress.check_classifier import LabelProbe, LabelReference
from setsail.data.row import Row, iterate_rows
from setsail.evaluate.question import choose_rows
from setsail.models.classifier import labels_of, new_classifier
from setsail.stages.base import kind_of_base
from setsail.stages.examples import examples_of
from setsail.stages.objectives import Lesson, lesson_of
from setsail.stages.stage import Voyage
from setsail.tasks.classify import label_order, make_batch
from setsail.tokens.pack import Example, pack
from setsail.tokens.tokenizer import Tokenizer
from setsail.train.classification import CLASSIFICATION, document_logits

MICRO_BATCH_TOKENS = 4096  # no logits to hold for each token: larger products are faster
MOST_VALIDATION_ROWS = 512
NUM_LOOKED_AT = 1000  # rows in which unknown tokens are counted
UNKNOWN_TOLD, UNKNOWN_REFUSED = 0.05, 0.33  # shares of the tokens that the base's tokenizer does not know


def lesson_on(recipe: Recipe, base: Artifact, data: Artifact, tokenizer: Tokenizer) -> Lesson:
    """The lesson of a recipe on these rows: their labels, or the language that a base of this kind learns.

    Raises:
        RecipeError, ModelError: as `lesson_of` does.
    """
    if recipe.task != "classify":
        return lesson_of(recipe, kind_of_base(base), tokenizer)
    labels = label_order([row.label for row in iterate_rows(data.file("train.parquet"))])
    # No text is longer than the base has positions.
    return _classification(labels, min(recipe.training.context, int(base.metrics["context"])), recipe.seed)


def _classification(labels: Sequence[str], context: int, seed: int) -> Lesson:
    index = {label: number for number, label in enumerate(labels)}

    def validate(model: PreTrainedModel, examples: Sequence[Example]) -> dict[str, float]:
        logits = logits_of(model, examples, index)
        right = np.array([index[example.label] for example in examples])
        peaks = logits.max(axis=1)
        nats = np.log(np.exp(logits - peaks[:, None]).sum(axis=1)) + peaks - logits[np.arange(len(right)), right]
        return {"nats_per_row": float(nats.mean()), "accuracy": float((logits.argmax(axis=1) == right).mean())}

    return Lesson(
        kind="encoder",
        objective=CLASSIFICATION,
        measure="nats_per_row",
        reads="classify",
        draw=lambda example, draw: example,
        collate=lambda examples: make_batch(examples, index),
        num_targets=lambda lengths, _: np.ones_like(lengths),
        load=lambda folder: new_classifier(folder, labels, dtype=compute_dtype(), seed=seed),
        validate=validate,
        context=context,
        micro_batch_tokens=MICRO_BATCH_TOKENS,
        most_validation_rows=MOST_VALIDATION_ROWS,
    )


def tell_limits(voyage: Voyage, lesson: Lesson, data: Artifact, tokenizer: Tokenizer) -> None:
    """Says before training what the base cannot read of these texts: their end, or their words.

    Raises:
        ModelError: a third of the tokens are unknown to it, as Chinese is to English bases.
    """
    wanted = voyage.recipe.training.context
    if lesson.context is not None and lesson.context < wanted:
        voyage.log.say(
            f"  the context is {lesson.context} tokens: this base has no more positions ({wanted} were asked for)"
        )
    rows = list(islice(iterate_rows(data.file("train.parquet")), NUM_LOOKED_AT))
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


def observe_classifier(
    recipe: Recipe, model: PreTrainedModel, tokenizer: Tokenizer, rows: Sequence[Row], lesson: Lesson
) -> LabelReference:
    """The trainer's logits, in float32, on up to `check.prompts` of the rows that fit the context whole.

    Mutates: the model's dtype.
    """
    made = examples_of(rows, tokenizer, recipe, lesson)
    by_row = {example.row_id: example for example in made.examples if not example.change}
    fitting = [row for row in rows if row.id in by_row]
    chosen = choose_rows(fitting, recipe.check.prompts, seed=recipe.seed)
    labels = labels_of(model.config)
    examples = [replace(by_row[row.id], label=labels[0]) for row in chosen]  # the label plays no part
    logits = logits_of(model.float(), examples, {label: number for number, label in enumerate(labels)})
    probes = tuple(
        LabelProbe(row.id, row.text, tuple(int(token) for token in example.ids), tuple(values.tolist()))
        for row, example, values in zip(chosen, examples, logits, strict=True)
    )
    return LabelReference(labels, probes)
