"""The evaluation stage of a reader that says other things than one label: the saved folder and every rung below it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from setsail.base.artifact import Artifact
from setsail.base.device import prepare_device
from setsail.base.recipe import New
from setsail.data.row import Row, contents
from setsail.evaluate import read_baselines
from setsail.evaluate.contamination import take_out
from setsail.evaluate.evaluation import Evaluation
from setsail.evaluate.question import choose_rows
from setsail.evaluate.read_baselines import Say, Vectors
from setsail.evaluate.read_scores import evaluate_said
from setsail.evaluate.score import Plan
from setsail.models.embedder import load_embedder
from setsail.stages.answering.predictor import TEXTS_AT_ONCE, ReadingPredictor
from setsail.stages.answering.predictors import predictor_of
from setsail.stages.lessons.reading import reading_name
from setsail.stages.rows.data import Parts
from setsail.stages.scores.classes import (
    MOST_NEIGHBOURS,
    MOST_VALIDATION_ROWS,
    fitting,
    make_class_evaluation,
    reading_settings,
)
from setsail.stages.scores.encoder_forms import Forms
from setsail.stages.scores.exam import Exam, make_exam
from setsail.stages.spent import core_seconds_of
from setsail.stages.stage import Voyage

ONE_LABEL = ("classify", "relate")
Rungs = Mapping[str, Callable[[], Say]]


def make_read_evaluation(voyage: Voyage, exam: Exam, forms: Forms) -> Artifact:
    """Scores with intervals, kind by kind, mistakes, whether training was worth it, and what it cost."""
    recipe = voyage.recipe
    if reading_name(recipe, exam.data) in ONE_LABEL:
        return make_class_evaluation(voyage, exam, forms)
    return make_exam(
        voyage,
        exam,
        lambda draft: _evaluate(voyage, exam, forms, draft),
        settings=reading_settings(recipe),
        models={**forms.models(), **exam.others("finetune")},
        version=2,
    )


def _evaluate(voyage: Voyage, exam: Exam, forms: Forms, draft: Path) -> Evaluation:
    recipe, trained = voyage.recipe, forms.trained
    prepare_device(recipe.seed)
    predictor = predictor_of(trained)
    parts = as_text(exam.parts()) if predictor.task == "grade" else exam.parts()
    clean, contamination = take_out(parts.test, parts.train, threshold=recipe.data.near_duplicates)
    chosen = choose_rows(clean, recipe.evaluate.max_rows, seed=recipe.seed)
    rows = fitting(voyage, predictor.reader, chosen, [predictor.reading.texts(row) for row in chosen])
    systems: dict[str, Say] = {"tuned": partial(said_with, voyage, predictor)}
    making = {"tuned": core_seconds_of(trained)}
    for name, model in exam.others("finetune").items():
        other = predictor_of(model)
        if other.task != predictor.task:
            raise exam.unlike(f"the task {other.task}", predictor.task)
        systems[name], making[name] = partial(said_with, voyage, other), core_seconds_of(model)
    if recipe.evaluate.prompted is not None:
        voyage.log.say("  evaluate.prompted is left out: it says one label, and these texts may have several")
    rungs = dict(_RUNGS[predictor.task](voyage, parts, forms.base, predictor))
    if isinstance(recipe.base, New):
        rungs.pop("neighbours", None)  # a base of random weights has no vectors of texts
    with voyage.log.progress("ladder", len(rungs)) as progress:
        for name, make_rung in rungs.items():
            before = time.process_time()
            systems[name] = make_rung()
            making[name] = time.process_time() - before
            progress.advance()
    for name, model in forms.rounded():
        rounded = ReadingPredictor(model, predictor.task, predictor.reading, num_end=predictor.num_end, at_once=1)
        systems[name], making[name] = partial(said_with, voyage, rounded), forms.core_seconds
    settings = recipe.evaluate
    plan = Plan(num_samples=settings.samples, resamples=settings.resamples, seed=recipe.seed)
    return evaluate_said(
        predictor.task,
        systems,
        rows,
        draft,
        plan=plan,
        making=making,
        core_hour=settings.core_hour,
        contamination=contamination,
    )


def as_text(parts: Parts) -> Parts:
    """The rows with their texts as one, which the cheaper rungs read."""
    return Parts(
        **{name: [replace(row, text="\n".join(contents(row))) for row in rows] for name, rows in vars(parts).items()}
    )


def said_with(voyage: Voyage, predictor: ReadingPredictor, rows: Sequence[Row]) -> list[Mapping[str, Any]]:
    """What a saved folder says of each row."""
    found: list[Mapping[str, Any]] = []
    with voyage.log.progress("test rows", len(rows)) as progress:
        for start in range(0, len(rows), TEXTS_AT_ONCE):
            some = rows[start : start + TEXTS_AT_ONCE]
            found += predictor.said(some)
            progress.advance(len(some))
    return found


def _near(
    voyage: Voyage, parts: Parts, base: Artifact, predictor: ReadingPredictor
) -> tuple[Vectors, Sequence[Row], Sequence[Row]]:
    """The vectors of the base as it was, and the rows of which they are made."""
    vectors = load_embedder(base.path, context=predictor.reader.context).vectors
    seed = voyage.recipe.seed
    known = choose_rows(parts.train, MOST_NEIGHBOURS, seed=seed)
    return vectors, known, choose_rows(parts.validation, MOST_VALIDATION_ROWS, seed=seed)


def _of_scores(voyage: Voyage, parts: Parts, base: Artifact, predictor: ReadingPredictor) -> Rungs:
    return {
        "mean": lambda: read_baselines.mean_score(parts.train),
        "ridge": lambda: read_baselines.ridge(parts.train, parts.validation),
        "neighbours": lambda: read_baselines.neighbour_scores(*_near(voyage, parts, base, predictor)),
    }


def _of_labels(voyage: Voyage, parts: Parts, base: Artifact, predictor: ReadingPredictor) -> Rungs:
    labels = predictor.reader.labels
    return {
        "majority": lambda: read_baselines.label_shares(parts.train, labels),
        "tfidf": lambda: read_baselines.each_label(parts.train, labels),
        "neighbours": lambda: read_baselines.neighbour_labels(*_near(voyage, parts, base, predictor), labels),
    }


def _of_spans(voyage: Voyage, parts: Parts, base: Artifact, predictor: ReadingPredictor) -> Rungs:
    return {
        "dictionary": lambda: read_baselines.dictionary(parts.train),
        "linear_tags": lambda: read_baselines.linear_tags(parts.train, seed=voyage.recipe.seed),
    }


def _of_answers(voyage: Voyage, parts: Parts, base: Artifact, predictor: ReadingPredictor) -> Rungs:
    return {"none": lambda: read_baselines.no_answer, "overlap": lambda: read_baselines.overlap(parts.train)}


_RUNGS: Mapping[str, Callable[[Voyage, Parts, Artifact, ReadingPredictor], Rungs]] = {
    "regress": _of_scores,
    "grade": _of_scores,
    "labels": _of_labels,
    "tag": _of_spans,
    "answer": _of_answers,
}
