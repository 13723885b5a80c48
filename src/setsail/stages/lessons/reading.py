"""Saying something of texts: the lesson of an encoder with a new head, which learns labels, a score, tags or a place.

What does not live here: the lessons of language models (`objectives.py`), what each task says (`tasks/`). The
invariant: what a figure of the head means follows from the training rows alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel

from setsail.base.artifact import Artifact
from setsail.base.device import compute_dtype
from setsail.base.errors import ModelError
from setsail.base.recipe import Recipe
from setsail.base.recipe_pairs import WRITING_TASKS
from setsail.compress.check_reader import ReadProbe, ReadReference
from setsail.data.row import Row, contents, iterate_rows
from setsail.evaluate.question import choose_rows
from setsail.models.reader import Problem, fold_scale, labels_of, new_reader
from setsail.stages.kinds import kind_of_base
from setsail.stages.lessons.embedding import embedding_lesson
from setsail.stages.lessons.examples import examples_of
from setsail.stages.lessons.objectives import Lesson, lesson_of
from setsail.stages.lessons.pairing import pairs_lesson
from setsail.stages.lessons.preferring import preference_lesson
from setsail.stages.lessons.ranking import ranking_lesson
from setsail.stages.stage import Voyage
from setsail.tasks.reading import Frame, Logits, Reading
from setsail.tasks.registry import READINGS, find_reading
from setsail.tokens.pack import Example, pack
from setsail.tokens.read import ReadBatch, read_side_by_side
from setsail.tokens.tokenizer import Tokenizer
from setsail.train.reading import OBJECTIVES, logits_of

MICRO_BATCH_TOKENS = 4096  # no logits of words to hold for each token: larger products are faster
MOST_VALIDATION_ROWS = 512
NUM_LOOKED_AT = 1000  # rows in which unknown tokens are counted
SEARCH_LESSONS = {"embed": embedding_lesson, "rank": ranking_lesson}
UNKNOWN_TOLD, UNKNOWN_REFUSED = 0.05, 0.33  # shares of the tokens that the base's tokenizer does not know
# What transformers calls the figures of a text, by the loss they were learned with.
_PROBLEMS: dict[str, Problem] = {
    "one_label": "single_label_classification",
    "labels": "multi_label_classification",
    "score": "regression",
}


def reading_name(recipe: Recipe, data: Artifact) -> str:
    """What is said of these rows, "" where a model goes on with texts; rows to classify may have several labels."""
    if recipe.task != "classify":
        return recipe.task if recipe.task in READINGS else ""
    first = next(iterate_rows(data.file("train.parquet")))
    return "labels" if first.target else "classify"


def lesson_on(recipe: Recipe, base: Artifact, data: Artifact, tokenizer: Tokenizer) -> Lesson:
    """The lesson of a recipe on these rows: what they are told, their pairs, or the language that such a base learns.

    Raises:
        RecipeError, ModelError: as `lesson_of` does.
    """
    if recipe.task in WRITING_TASKS and kind_of_base(base) == "seq2seq":
        return pairs_lesson(recipe, tokenizer)
    if recipe.task in SEARCH_LESSONS:
        return SEARCH_LESSONS[recipe.task](recipe, base, data, tokenizer)
    name = reading_name(recipe, data)
    if not name:
        lesson = lesson_of(recipe, kind_of_base(base), tokenizer)
        prefer = recipe.finetune.prefer
        return lesson if prefer is None else preference_lesson(lesson, prefer)
    reading = find_reading(name)
    frame = reading.frame(iterate_rows(data.file("train.parquet")))
    # No text is longer than the base has positions.
    context = min(recipe.training.context, int(base.metrics["context"]))
    return _lesson(name, reading, frame, tokenizer, context=context, seed=recipe.seed)


def _lesson(name: str, reading: Reading, frame: Frame, tokenizer: Tokenizer, *, context: int, seed: int) -> Lesson:
    def collate(examples: Sequence[Example]) -> ReadBatch:
        return batch_of(reading, frame, tokenizer, examples)

    def validate(model: PreTrainedModel, examples: Sequence[Example]) -> dict[str, float]:
        paid, num_targets, logits = 0.0, 0, said_of(model, examples, reading, frame, tokenizer)
        for members in _packed(examples):
            nats = OBJECTIVES[reading.loss].row_nats(model, collate([examples[index] for index in members]))
            paid, num_targets = paid + sum(each for each, _ in nats), num_targets + sum(count for _, count in nats)
        return {"nats_per_row": paid / num_targets, **reading.figures(logits, examples, frame)}

    def finish(model: PreTrainedModel) -> None:
        if reading.loss == "score":
            fold_scale(model, mean=frame.mean, scale=frame.scale)

    return Lesson(
        kind="encoder",
        objective=OBJECTIVES[reading.loss],
        measure="nats_per_row",
        reads=name,
        draw=lambda example, draw: example,
        collate=collate,
        num_targets=lambda lengths, marked: marked if reading.loss == "tags" else np.ones_like(lengths),
        load=lambda folder: _load(folder, reading, frame, seed),
        validate=validate,
        finish=finish,
        context=context,
        micro_batch_tokens=MICRO_BATCH_TOKENS,
        most_validation_rows=MOST_VALIDATION_ROWS,
    )


def _load(folder: Path, reading: Reading, frame: Frame, seed: int) -> PreTrainedModel:
    problem = _PROBLEMS.get(reading.loss)
    return new_reader(folder, frame.names, dtype=compute_dtype(), seed=seed, head=reading.head, problem=problem)


def batch_of(reading: Reading, frame: Frame, tokenizer: Tokenizer, examples: Sequence[Example]) -> ReadBatch:
    """The examples as one packed row, with what is to be said of them."""
    targets = reading.targets(examples, frame)
    num_supervised = int((targets >= 0).sum()) if reading.loss == "tags" else len(examples)
    second_type = tokenizer.second_type if reading.num_texts > 1 else None
    return read_side_by_side(examples, targets, num_supervised=num_supervised, second_type=second_type)


def said_of(
    model: PreTrainedModel, examples: Sequence[Example], reading: Reading, frame: Frame, tokenizer: Tokenizer
) -> list[Logits]:
    """Logits of the examples, in their order, from packed rows."""
    found: dict[int, Logits] = {}
    for members in _packed(examples):
        row = batch_of(reading, frame, tokenizer, [examples[index] for index in members])
        for index, logits in zip(members, logits_of(model, row), strict=True):
            found[index] = logits.double().cpu().numpy()
    return [found[index] for index in range(len(examples))]


def _packed(examples: Sequence[Example]) -> list[list[int]]:
    longest = max((len(example.ids) for example in examples), default=0)
    return pack(examples, max(longest, MICRO_BATCH_TOKENS), "scoring")


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
    looked_at = islice(iterate_rows(data.file("train.parquet")), NUM_LOOKED_AT)
    rows = [text for row in looked_at for text in contents(row)]
    unknown = tokenizer.token_id(tokenizer.named.get("unk_token", ""))
    ids = [token for text in rows for token in tokenizer.encode(text)]
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


def _as_read(tokenizer: Tokenizer, text: str) -> str:
    return tokenizer.decode(tokenizer.encode(text), skip_special=False)[:80]


def observe_reader(
    recipe: Recipe, model: PreTrainedModel, tokenizer: Tokenizer, rows: Sequence[Row], lesson: Lesson
) -> ReadReference:
    """The trainer's logits, in float32, on up to `check.prompts` of the rows that fit the context whole.

    Mutates: the model's dtype.
    """
    reading, made = find_reading(lesson.reads), examples_of(rows, tokenizer, recipe, lesson)
    by_row = {example.row_id: example for example in made.examples if not example.change}
    fitting = [row for row in rows if row.id in by_row]
    chosen = choose_rows(fitting, recipe.check.prompts, seed=recipe.seed)
    examples = [by_row[row.id] for row in chosen]
    labels = labels_of(model.config)
    unasked = replace(reading, targets=lambda examples, _: np.zeros(len(examples), dtype=np.int64))
    logits = said_of(model.float(), examples, unasked, Frame(labels), tokenizer)  # a test may hold unseen labels
    probes = tuple(
        ReadProbe(row.id, reading.texts(row), tuple(map(int, example.ids)), _lines(values))
        for row, example, values in zip(chosen, examples, logits, strict=True)
    )
    return ReadReference(lesson.reads, labels, probes)


def _lines(logits: Logits) -> tuple[tuple[float, ...], ...]:
    """A text's figures as lines: one, or one for each token."""
    return tuple(tuple(line) for line in np.atleast_2d(logits).tolist())
