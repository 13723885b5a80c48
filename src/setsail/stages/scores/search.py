"""The evaluation stage of embed and rank: the saved folder and every rung below it on the held-out queries."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from setsail.base.artifact import Artifact
from setsail.base.device import device, move, prepare_device
from setsail.data.pairs import negatives_of, query_of, text_of
from setsail.data.row import Row
from setsail.evaluate.contamination import Contamination, take_out
from setsail.evaluate.evaluation import Evaluation
from setsail.evaluate.question import choose_rows
from setsail.evaluate.score import Plan
from setsail.evaluate.search import (
    FIND_COMPARISONS,
    ORDER_COMPARISONS,
    Bill,
    Pair,
    Query,
    evaluate_alike,
    evaluate_search,
)
from setsail.evaluate.search_baselines import (
    Alike,
    Asked,
    Scores,
    Vectors,
    alike_by_tfidf,
    alike_by_vectors,
    bm25,
    by_vectors,
    random_order,
    tfidf_cosine,
)
from setsail.models.embedder import load_embedder
from setsail.models.onnx_model import OnnxEmbedder, OnnxRanker
from setsail.models.plain_ranker import PlainRanker, load_ranker
from setsail.stages.answering.search_predictors import Ranks
from setsail.stages.rows.data import Parts
from setsail.stages.scores.encoder_forms import INT8, Forms
from setsail.stages.scores.exam import Exam, Pairs, make_exam
from setsail.stages.spent import core_seconds_of
from setsail.stages.stage import Voyage

ALIKE_QUERIES = 0.85  # a test query so like one of training is no new question
Made = TypeVar("Made")


@dataclass(frozen=True)
class _Models:
    """The folders that are compared, and how many tokens of a text they read."""

    base: Artifact
    trained: Artifact
    context: int
    others: Mapping[str, Artifact]  # the model of another run, by the name of its system
    forms: Forms

    def vectors(self, artifact: Artifact) -> Vectors:
        """An encoder loaded plainly, its head left out."""
        return load_embedder(artifact.path, context=self.context).vectors


def make_search_evaluation(voyage: Voyage, exam: Exam, forms: Forms) -> Artifact:
    """Scores with intervals, whether training was worth it, what each way costs, and queries to read."""
    recipe, base = voyage.recipe, forms.base

    def evaluate(draft: Path) -> Evaluation:
        prepare_device(recipe.seed)
        context = min(recipe.training.context, int(base.metrics["context"]))
        models = _Models(base, forms.trained, context, exam.others("finetune"), forms)
        return _evaluate(voyage, exam, models, draft)

    settings = {
        "task": recipe.task,
        "evaluate": recipe.evaluate.model_dump(mode="json"),
        "context": recipe.training.context,
        "seed": recipe.seed,
    }
    models = {**forms.models(), **exam.others("finetune")}
    return make_exam(voyage, exam, evaluate, settings=settings, models=models, version=2)


def _evaluate(voyage: Voyage, exam: Exam, models: _Models, draft: Path) -> Evaluation:
    parts = exam.parts()
    rows, contamination = _new_queries(parts)
    if voyage.recipe.task == "rank":
        return _evaluate_order(voyage, rows, parts, models, draft, contamination)
    if rows and rows[0].label:
        return _evaluate_alike(voyage, rows, parts, models, draft, contamination)
    return _evaluate_finding(voyage, rows, parts, models, draft, contamination)


def _new_queries(parts: Parts) -> tuple[list[Row], Contamination]:
    """The test rows whose query training has not seen, nor one nearly the same."""
    test, train = (
        [Row(row.id, (), query_of(row), row.group, row.origin) for row in part] for part in (parts.test, parts.train)
    )
    kept, account = take_out(test, train, threshold=ALIKE_QUERIES)
    ids = {row.id for row in kept}
    return [row for row in parts.test if row.id in ids], account


def _evaluate_finding(
    voyage: Voyage, rows: Sequence[Row], parts: Parts, models: _Models, draft: Path, contamination: Contamination
) -> Evaluation:
    """Each query's texts among all texts of the data."""
    recipe = voyage.recipe
    texts = texts_of((*parts.train, *parts.validation, *parts.test))
    queries = _queries(rows, texts, recipe.evaluate.max_rows, recipe.seed)
    voyage.log.say(f"  {len(queries):,} test queries, each looking for its texts among {len(texts):,}")
    ways: dict[str, Callable[[], Scores]] = {
        "random": lambda: random_order(len(texts), seed=recipe.seed),
        "bm25": lambda: bm25(texts),
        "tfidf_cosine": lambda: tfidf_cosine(texts),
        "base_vectors": lambda: by_vectors(models.vectors(models.base), texts),
        "tuned": lambda: by_vectors(models.vectors(models.trained), texts),
        **{name: partial(_by_vectors_of, models, other, texts) for name, other in models.others.items()},
        **{name: lambda by=each: by_vectors(OnnxEmbedder(by).vectors, texts) for name, each in models.forms.rounded()},
    }
    made, bill = climbed(voyage, ways, models)
    plan = plan_of(voyage, models, FIND_COMPARISONS)
    return evaluate_search(made, queries, texts, draft, plan=plan, bill=bill, contamination=contamination)


def _evaluate_order(
    voyage: Voyage, rows: Sequence[Row], parts: Parts, models: _Models, draft: Path, contamination: Contamination
) -> Evaluation:
    """Each query's own candidates, from the best grade to the least."""
    recipe = voyage.recipe
    texts = texts_of((*parts.train, *parts.validation, *parts.test))
    queries = _judged_queries(rows, texts, recipe.evaluate.max_rows, recipe.seed)
    orderable = [query for query in queries if _can_be_ordered(query)]
    if len(orderable) < len(queries):
        left_out = len(queries) - len(orderable)
        voyage.log.say(f"  {left_out:,} test queries have one text only, or none that answers, and are not scored")
    ways: dict[str, Callable[[], Scores]] = {
        "random": lambda: random_order(len(texts), seed=recipe.seed),
        "bm25": lambda: bm25(texts),
        "tfidf_cosine": lambda: tfidf_cosine(texts),
        "base_vectors": lambda: by_vectors(models.vectors(models.base), texts),
        "tuned": lambda: _by_ranker(_ranker(models.trained), texts),
        **{name: lambda of=other: _by_ranker(_ranker(of), texts) for name, other in models.others.items()},
        **{name: lambda by=each: _by_ranker(OnnxRanker(by), texts) for name, each in models.forms.rounded()},
    }
    made, bill = climbed(voyage, ways, models)
    plan = plan_of(voyage, models, ORDER_COMPARISONS)
    return evaluate_search(made, orderable, texts, draft, plan=plan, bill=bill, contamination=contamination)


def _by_vectors_of(models: _Models, artifact: Artifact, texts: Sequence[str]) -> Scores:
    return by_vectors(models.vectors(artifact), texts)


def _alike_by_vectors_of(models: _Models, artifact: Artifact) -> Alike:
    return alike_by_vectors(models.vectors(artifact))


def _can_be_ordered(query: Query) -> bool:
    return len(query.grades) > 1 and any(grade > 0 for grade in query.grades.values())


def _ranker(trained: Artifact) -> PlainRanker:
    ranker = load_ranker(trained.path)
    move(ranker.model, device())
    return ranker


def _by_ranker(ranker: Ranks, texts: Sequence[str]) -> Scores:
    def scores(asked: Sequence[Asked]) -> list[np.ndarray]:
        every = np.arange(len(texts))
        pairs = [(each.query, str(texts[index])) for each in asked for index in each.of(every)]
        ends = np.cumsum([len(each.of(every)) for each in asked])
        return np.split(ranker.logits(pairs), ends[:-1])

    return scores


def _judged_queries(rows: Sequence[Row], texts: Sequence[str], max_queries: int, seed: int) -> list[Query]:
    """The different queries of the rows, each with the grades of its texts, which alone are its candidates."""
    number = {text: index for index, text in enumerate(texts)}
    grades: dict[str, dict[int, float]] = {}
    for row in rows:
        grades.setdefault(query_of(row), {})[number[text_of(row)]] = float(row.label)
    firsts = list({query_of(row): row for row in reversed(rows)}.values())
    return [
        Query(row.id, row.group, query_of(row), row.origin, judged, np.array(sorted(judged), np.int64))
        for row in choose_rows(firsts, max_queries, seed=seed)
        for judged in [grades[query_of(row)]]
    ]


def _evaluate_alike(
    voyage: Voyage, rows: Sequence[Row], parts: Parts, models: _Models, draft: Path, contamination: Contamination
) -> Evaluation:
    """How far the cosines of pairs go with their scores."""
    recipe = voyage.recipe
    chosen = choose_rows(rows, recipe.evaluate.max_rows, seed=recipe.seed)
    pairs = [Pair(row.id, row.group, (query_of(row), text_of(row)), float(row.label)) for row in chosen]
    known = sorted({text for row in parts.train for text in (query_of(row), text_of(row))})
    ways: dict[str, Callable[[], Alike]] = {
        "tfidf_cosine": lambda: alike_by_tfidf(known),
        "base_vectors": lambda: alike_by_vectors(models.vectors(models.base)),
        "tuned": lambda: alike_by_vectors(models.vectors(models.trained)),
        **{name: partial(_alike_by_vectors_of, models, other) for name, other in models.others.items()},
        **{name: lambda by=each: alike_by_vectors(OnnxEmbedder(by).vectors) for name, each in models.forms.rounded()},
    }
    made, bill = climbed(voyage, ways, models)
    plan = plan_of(voyage, models, FIND_COMPARISONS)
    return evaluate_alike(made, pairs, draft, plan=plan, bill=bill, contamination=contamination)


def texts_of(rows: Iterable[Row]) -> list[str]:
    """Every different text that queries are held against, in an order that says nothing about them."""
    texts = {text for row in rows for text in (text_of(row), *negatives_of(row))}
    return sorted(texts, key=lambda text: hashlib.sha256(text.encode()).digest())


def _queries(rows: Sequence[Row], texts: Sequence[str], max_queries: int, seed: int) -> list[Query]:
    """The different queries of the rows with all texts that answer them."""
    number = {text: index for index, text in enumerate(texts)}
    of_query: dict[str, list[Row]] = {}
    for row in rows:
        of_query.setdefault(query_of(row), []).append(row)
    firsts = choose_rows([group[0] for group in of_query.values()], max_queries, seed=seed)
    return [
        Query(
            row.id,
            row.group,
            query_of(row),
            row.origin,
            {number[text_of(other)]: 1.0 for other in of_query[query_of(row)]},
        )
        for row in firsts
    ]


def climbed(voyage: Voyage, ways: Mapping[str, Callable[[], Made]], models: _Models) -> tuple[dict[str, Made], Bill]:
    """Every way made, and what that took; to what was trained its training is added."""
    made, making = {}, {}
    with voyage.log.progress("ladder", len(ways)) as progress:
        for name, way in ways.items():
            before = time.process_time()
            made[name] = way()
            making[name] = time.process_time() - before
            progress.advance()
    for name, trained in {"tuned": models.trained, **models.others}.items():
        making[name] += core_seconds_of(trained)
    if INT8 in making:
        making[INT8] += models.forms.core_seconds
    return made, Bill(making, voyage.recipe.evaluate.core_hour)


def plan_of(voyage: Voyage, models: _Models, comparisons: Pairs) -> Plan:
    """How intervals are drawn and how many queries are shown."""
    settings = voyage.recipe.evaluate
    pairs = (*((("tuned", name)) for name in models.others), *comparisons, ("tuned", INT8))
    return Plan(pairs, num_samples=settings.samples, resamples=settings.resamples, seed=voyage.recipe.seed)
