"""Ordering texts for a query: the lesson of a cross-encoder that learns grades, and what it says at the end.

What does not live here: the loss (`train/grades.py`), where wrong answers come from (`candidates.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedModel

from setsail.base.artifact import Artifact
from setsail.base.device import compute_dtype
from setsail.base.recipe import Recipe
from setsail.compress.check_values import ValueProbe, ValueReference
from setsail.data.pairs import query_of, text_of
from setsail.data.row import Row, iterate_rows
from setsail.evaluate.question import choose_rows
from setsail.models.reader import new_reader
from setsail.stages.lessons.objectives import Lesson
from setsail.tasks.rank import GRADE_NAME, example, grade_scale, make_batch, to_show
from setsail.tasks.task import Dropped
from setsail.tokens.pack import Example, pack
from setsail.tokens.tokenizer import Tokenizer
from setsail.train.grades import GRADES, pair_logits

MICRO_BATCH_TOKENS = 4096
MOST_VALIDATION_ROWS = 1024
_DIGITS = 7


def ranking_lesson(recipe: Recipe, base: Artifact, data: Artifact, tokenizer: Tokenizer) -> Lesson:
    """The lesson of graded pairs; no pair is longer than the base has positions."""
    context = min(recipe.training.context, int(base.metrics["context"]))
    scale = grade_scale([row.label for row in iterate_rows(data.file("train.parquet"))])

    def validate(model: PreTrainedModel, examples: Sequence[Example]) -> dict[str, float]:
        logits = logits_of(model, examples)
        grades = np.array([scale.get(each.label, 0.0) for each in examples])
        # −ln of a logistic probability, written so that no large logit overflows
        nats = np.logaddexp(0.0, logits) - grades * logits
        return {"nats_per_row": float(nats.mean())}

    return Lesson(
        kind="encoder",
        objective=GRADES,
        measure="nats_per_row",
        reads="rank",
        draw=lambda example, draw: example,
        collate=partial(make_batch, scale=scale),
        num_targets=lambda lengths, _: np.ones_like(lengths),
        load=lambda folder: new_ranker(folder, recipe.seed),
        validate=validate,
        context=context,
        micro_batch_tokens=MICRO_BATCH_TOKENS,
        most_validation_rows=MOST_VALIDATION_ROWS,
        shown=to_show,
        observe=partial(_observe, tokenizer, context, recipe.seed),
    )


def new_ranker(folder: Path, seed: int) -> PreTrainedModel:
    """The encoder of a folder with a new head of one logit, whose probability is that of a right answer."""
    model = new_reader(folder, (GRADE_NAME,), dtype=compute_dtype(), seed=seed)
    model.config.problem_type = "multi_label_classification"  # other tools take the sigmoid of the logit then
    return model


def logits_of(model: PreTrainedModel, examples: Sequence[Example]) -> npt.NDArray[np.float64]:
    """Logits [N] of the examples, in their order, from packed rows."""
    longest = max((len(each.ids) for each in examples), default=0)
    logits = np.zeros(len(examples))
    for members in pack(examples, max(longest, MICRO_BATCH_TOKENS), "scoring"):
        chosen = [examples[index] for index in members]
        batch = make_batch(chosen, {each.label: 0.0 for each in chosen})  # the grade plays no part
        logits[members] = pair_logits(model, batch).double().cpu().numpy()
    return logits


def _observe(
    tokenizer: Tokenizer, context: int, seed: int, model: PreTrainedModel, rows: Sequence[Row], num_probes: int
) -> ValueReference:
    """The trainer's scores, in float32, of pairs that fit the context whole.

    Mutates: the model's dtype.
    """
    made = {row.id: example(row, tokenizer, context, "drop") for row in rows}
    fitting = [row for row in rows if not isinstance(made[row.id], Dropped)]
    chosen = choose_rows(fitting, num_probes, seed=seed)
    read = [found for row in chosen if not isinstance(found := made[row.id], Dropped)]
    examples = [each for found in read for each in found]
    logits = logits_of(model.float(), examples).round(_DIGITS).tolist()
    return ValueReference(
        "scores",
        tuple(
            ValueProbe(row.id, (query_of(row), text_of(row)), tuple(map(int, each.ids)), (logit,))
            for row, each, logit in zip(chosen, examples, logits, strict=True)
        ),
    )
