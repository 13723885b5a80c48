"""The linear model of a search: it is fitted and not trained, so that it can be tried before anything is.

TF-IDF with logistic regression, of one label for a text or of each of several. What does not live here: the trials that
train a network (`trying.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from setsail.base.artifact import Artifact
from setsail.base.recipe import Recipe
from setsail.base.target import labels_of
from setsail.data.row import Row, iterate_rows
from setsail.evaluate.class_baselines import linear_model
from setsail.evaluate.classify import evaluate_classes
from setsail.evaluate.evaluation import Evaluation
from setsail.evaluate.question import choose_rows
from setsail.evaluate.read_baselines import each_label
from setsail.evaluate.read_scores import evaluate_said
from setsail.evaluate.score import Plan
from setsail.stages.lessons.reading import reading_name
from setsail.tasks.classify import label_order
from setsail.tasks.labels import READING as LABELS

LINEAR = "linear"  # the base of a trial, and the system on the test
_LEAST = float(np.finfo(np.float64).tiny)


def fit_linear(
    recipe: Recipe, data: Artifact, rows: Sequence[Row], inverse_penalty: float
) -> tuple[float, dict[str, float]]:
    """Nats of a row, by which a trained model is judged too, and the figure that validation shows beside them."""
    train = list(iterate_rows(data.file("train.parquet")))
    if reading_name(recipe, data) == "labels":
        return _of_each_label(train, rows, inverse_penalty)
    labels = label_order([row.label for row in train])
    probabilities = linear_model(train, labels)(inverse_penalty)([row.text for row in rows])
    right = np.array([labels.index(row.label) for row in rows])
    told = np.maximum(probabilities[np.arange(len(rows)), right], _LEAST)
    return float(-np.log(told).mean()), {"accuracy": float((probabilities.argmax(axis=1) == right).mean())}


def _of_each_label(train: Sequence[Row], rows: Sequence[Row], inverse_penalty: float) -> tuple[float, dict[str, float]]:
    labels = LABELS.frame(train).names
    said = each_label(train, labels, inverse_penalty=inverse_penalty, balanced=False)(rows)
    chances = np.array([[each["probabilities"][label] for label in labels] for each in said])
    has = np.array([[label in labels_of(row.target) for label in labels] for row in rows])
    told = np.maximum(np.where(has, chances, 1 - chances), _LEAST)
    both, either = 2 * (has & (chances >= 0.5)).sum(), has.sum() + (chances >= 0.5).sum()
    return float(-np.log(told).sum(axis=1).mean()), {"micro_f1": float(both / max(1, either))}


def linear_on_test(
    recipe: Recipe, data: Artifact, inverse_penalty: float, out: Path, *, making_seconds: float
) -> Evaluation:
    """The linear model on the rows that the search never saw; its files go to `out`."""
    train = list(iterate_rows(data.file("train.parquet")))
    rows = choose_rows(iterate_rows(data.file("test.parquet")), recipe.evaluate.max_rows, seed=recipe.seed)
    plan = Plan((), num_samples=0, resamples=recipe.evaluate.resamples, seed=recipe.seed)
    making, core_hour = {LINEAR: making_seconds}, recipe.evaluate.core_hour
    out.mkdir(exist_ok=True)
    if reading_name(recipe, data) == "labels":
        say = each_label(train, LABELS.frame(train).names, inverse_penalty=inverse_penalty, balanced=False)
        return evaluate_said("labels", {LINEAR: say}, rows, out, plan=plan, making=making, core_hour=core_hour)
    labels = label_order([row.label for row in train])
    classify = linear_model(train, labels)(inverse_penalty)
    return evaluate_classes({LINEAR: classify}, rows, labels, out, plan=plan, making=making, core_hour=core_hour)
