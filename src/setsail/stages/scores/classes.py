"""The evaluation stage of a classifier: the saved folder and every rung below it on one frozen test."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from setsail.base.artifact import Artifact
from setsail.base.device import device, move, prepare_device
from setsail.base.recipe import New, Recipe
from setsail.base.recipe_data import Server
from setsail.data.row import Row
from setsail.evaluate import more_rows
from setsail.evaluate.class_baselines import (
    Classify,
    keywords,
    linear_model,
    majority,
    neighbours,
    probe,
    tfidf_regression,
)
from setsail.evaluate.classify import COMPARISONS, evaluate_classes
from setsail.evaluate.contamination import take_out
from setsail.evaluate.doubts import Doubts, doubts
from setsail.evaluate.evaluation import Evaluation
from setsail.evaluate.prompted import prompted
from setsail.evaluate.question import choose_rows
from setsail.evaluate.score import Plan
from setsail.models.embedder import load_embedder
from setsail.models.plain_reader import PlainReader, load_plain
from setsail.stages.answering.predictor import Reader
from setsail.stages.rows.data import Parts, client_of
from setsail.stages.scores.encoder_forms import INT8, Forms
from setsail.stages.scores.exam import Exam, make_exam
from setsail.stages.spent import core_seconds_of
from setsail.stages.stage import Voyage
from setsail.tasks.reading import softmax
from setsail.tasks.registry import find_reading

TEXTS_AT_ONCE = 32
MOST_NEIGHBOURS = 5000  # training texts of which vectors are made
MOST_VALIDATION_ROWS = 512
MOST_LABEL_TOKENS = 24  # of an answer of a prompted model
MOST_DOUBTED = 20_000  # training rows whose labels are looked at


def make_class_evaluation(voyage: Voyage, exam: Exam, forms: Forms) -> Artifact:
    """Scores with intervals, label by label, confusions, mistakes, whether training was worth it, and what it cost."""
    return make_exam(
        voyage,
        exam,
        lambda draft: _evaluate(voyage, exam, forms, draft),
        settings=reading_settings(voyage.recipe),
        models={**forms.models(), **exam.others("finetune")},
        version=3,
    )


def reading_settings(recipe: Recipe) -> dict[str, Any]:
    """What of a recipe an evaluation of readers depends on."""
    return {
        "evaluate": recipe.evaluate.model_dump(mode="json"),
        "near": recipe.data.near_duplicates,
        "seed": recipe.seed,
        "overlong": recipe.data.overlong,
    }


def _of_parts(parts: Parts, labels: Sequence[str], *, whole: Classify, voyage: Voyage) -> dict[int, Classify]:
    """The cheap model of nested parts of the training rows, the smaller inside the larger; `whole` is that of all."""
    sizes = {round(share * len(parts.train)) for share in more_rows.SHARES} - {len(parts.train)}
    made = {len(parts.train): whole}
    with voyage.log.progress("parts of the training rows", len(sizes)) as progress:
        for size in sorted(sizes):
            if size >= more_rows.LEAST_ROWS:
                some = choose_rows(parts.train, size, seed=voyage.recipe.seed)
                made[size] = tfidf_regression(some, parts.validation, labels)
            progress.advance()
    return made


def fitting(voyage: Voyage, reader: Reader, rows: Sequence[Row], texts: Sequence[tuple[str, ...]]) -> list[Row]:
    """The rows that are scored: where a text that is too long is dropped, not those; how many is told."""
    if voyage.recipe.data.overlong != "drop":
        return list(rows)
    fit = [row for row, each in zip(rows, texts, strict=True) if len(reader.encoding(each).ids) <= reader.context]
    if len(fit) < len(rows):
        voyage.log.say(f"  {len(rows) - len(fit)} test rows are longer than the context and are not scored")
    return fit


def as_read(parts: Parts, task: str) -> Parts:
    """The rows with the very text that the model reads, which every rung of the ladder reads as well."""
    texts = find_reading(task).texts
    return Parts(**{name: [replace(row, text=texts(row)[0]) for row in rows] for name, rows in vars(parts).items()})


def _rungs(
    voyage: Voyage, parts: Parts, base: Artifact, classifier: PlainReader
) -> Mapping[str, Callable[[], Classify]]:
    """What makes each rung of the ladder below the classifier."""
    recipe, labels = voyage.recipe, classifier.labels
    rungs: dict[str, Callable[[], Classify]] = {
        "majority": lambda: majority(parts.train, labels),
        "keywords": lambda: keywords(parts.train, labels),
        "tfidf": lambda: tfidf_regression(parts.train, parts.validation, labels),
    }
    if not isinstance(recipe.base, New):  # a base of random weights has no vectors of texts
        embedder = functools.cache(lambda: load_embedder(base.path, context=classifier.context))
        near = (
            lambda texts: embedder().vectors(texts),
            choose_rows(parts.train, MOST_NEIGHBOURS, seed=recipe.seed),
            choose_rows(parts.validation, MOST_VALIDATION_ROWS, seed=recipe.seed),
            labels,
        )
        rungs |= {"neighbours": lambda: neighbours(*near), "probe": lambda: probe(*near)}
    return rungs


def _doubts(parts: Parts, labels: Sequence[str], seed: int) -> Doubts | None:
    """The training rows whose labels may be wrong, by the linear model."""
    looked_at = choose_rows(parts.train, MOST_DOUBTED, seed=seed)
    return doubts(looked_at, labels, lambda known: linear_model(known, labels)(10.0), seed=seed)


def _prompted(voyage: Voyage, server: Server, parts: Parts, labels: Sequence[str]) -> Classify:
    """The chat model of the recipe, reached over HTTP; what it costs there is not known here."""
    client = client_of(server, place="evaluate.prompted")
    voyage.log.say(f"  validation and test texts are sent to {server.url}, as they stand after data.redact")

    def ask(prompt: str) -> str:
        message = {"role": "user", "content": prompt}
        return client.chat([message], model=server.model, temperature=0.0, max_tokens=MOST_LABEL_TOKENS).text

    def unclear(num: int) -> None:
        voyage.log.say(f"  {num} answers of {server.model} name no label, and count as the most frequent one")

    asked = choose_rows(parts.validation, MOST_VALIDATION_ROWS, seed=voyage.recipe.seed)
    return prompted(ask, parts.train, asked, labels, language=voyage.recipe.language, unclear=unclear)


def classify_with(classifier: Reader, order: Sequence[int] | None = None) -> Classify:
    """What a saved folder says, its labels in another order where one is given."""

    def classify(texts: Sequence[str]) -> NDArray[np.float64]:
        found = softmax(np.stack(classifier.logits(texts, at_once=TEXTS_AT_ONCE)))
        return found if order is None else found[:, order]

    return classify


def _evaluate(voyage: Voyage, exam: Exam, forms: Forms, draft: Path) -> Evaluation:
    recipe, trained = voyage.recipe, forms.trained
    prepare_device(recipe.seed)
    parts = as_read(exam.parts(), recipe.task)
    clean, contamination = take_out(parts.test, parts.train, threshold=recipe.data.near_duplicates)
    rows = choose_rows(clean, recipe.evaluate.max_rows, seed=recipe.seed)
    classifier = load_plain(trained.path)
    move(classifier.model, device())
    rows = fitting(voyage, classifier, rows, [(row.text,) for row in rows])

    systems: dict[str, Classify] = {"tuned": classify_with(classifier)}
    making = {"tuned": core_seconds_of(trained)}
    for name, rounded in forms.rounded():
        systems[name], making[name] = classify_with(rounded), forms.core_seconds
    for name, model in exam.others("finetune").items():
        other = load_plain(model.path)
        move(other.model, device())
        if set(other.labels) != set(classifier.labels):
            raise exam.unlike(f"the labels {', '.join(other.labels[:8])}", ", ".join(classifier.labels[:8]))
        order = [other.labels.index(label) for label in classifier.labels]
        systems[name], making[name] = classify_with(other, order), core_seconds_of(model)
    below = _rungs(voyage, parts, forms.base, classifier)
    with voyage.log.progress("ladder", len(below)) as progress:
        for name, make_rung in below.items():
            before = time.process_time()
            systems[name] = make_rung()
            making[name] = time.process_time() - before
            progress.advance()
    settings = recipe.evaluate
    if settings.prompted is not None:  # without a rung: what it costs on its own machine is not known here
        systems["prompted"] = _prompted(voyage, settings.prompted, parts, classifier.labels)
    plan = Plan(
        (*exam.compared(COMPARISONS), ("tuned", INT8)),
        num_samples=settings.samples,
        resamples=settings.resamples,
        seed=recipe.seed,
        nothing=recipe.data.no_relation,
    )
    return evaluate_classes(
        systems,
        rows,
        classifier.labels,
        draft,
        plan=plan,
        making=making,
        core_hour=settings.core_hour,
        parts=_of_parts(parts, classifier.labels, whole=systems["tfidf"], voyage=voyage) if exam.is_own else None,
        doubts=_doubts(parts, classifier.labels, recipe.seed) if exam.is_own else None,
        contamination=contamination,
    )
