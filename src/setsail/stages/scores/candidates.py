"""The candidates stage of rank: where rows bring no grades, texts among which BM25 would look are the wrong answers.

In training they are drawn from the first fifty that BM25 finds and that do not answer the query; in the test they are
the first twenty, so that what is measured is putting BM25's own order right. The invariant: the same rows and seed give
the same candidates, and a query's candidates stand in its part.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from setsail.base.artifact import Artifact
from setsail.data.pairs import QUERY, TEXT, negatives_of, query_of, text_of
from setsail.data.row import Message, Row, iterate_rows, row_id, write_rows
from setsail.evaluate.search_baselines import Asked, Scores, bm25
from setsail.evaluate.search_metrics import best_first
from setsail.stages.rows.data import PARTS, read_parts
from setsail.stages.scores.search import texts_of
from setsail.stages.stage import StageSpec, Voyage, make

DRAWN_FROM, IN_TEST = 50, 20
RIGHT, WRONG = "1", "0"
_QUERIES_AT_ONCE = 64


def rows_to_rank(voyage: Voyage, data: Artifact, *, kind: str = "candidates") -> Artifact:
    """The data itself where its rows have grades, else an artefact of the same parts with right and wrong answers."""
    first = next(row for part in PARTS for row in iterate_rows(data.file(f"{part}.parquet")))
    if first.label:
        return data
    recipe = voyage.recipe

    def build(draft: Path) -> Mapping[str, Any]:
        parts = read_parts(data)
        texts = texts_of((*parts.train, *parts.validation, *parts.test))
        search, sizes = bm25(texts), {}
        with voyage.log.progress("candidates", sum(len(getattr(parts, part)) for part in PARTS)) as progress:
            for part in PARTS:
                made: list[Row] = []
                wanted = None if part == "test" else recipe.search.negatives
                for rows in _by_query(getattr(parts, part)):
                    made += _graded(rows, _wrong_texts(rows, texts, search, wanted, recipe.seed))
                    progress.advance(sum(map(len, rows)))
                write_rows(draft / f"{part}.parquet", made)
                sizes[part] = len(made)
        told = ", ".join(f"{part} {size:,}" for part, size in sizes.items())
        voyage.log.say(f"  pairs to grade: {told}; wrong answers are what BM25 finds")
        return {"sizes": sizes}

    settings = {"negatives": recipe.search.negatives, "seed": recipe.seed}
    return make(voyage, StageSpec(kind, settings, {"data": data}, {}), build)


def _by_query(rows: Sequence[Row]) -> Iterator[list[list[Row]]]:
    """The rows of each query, some queries at a time."""
    of_query: dict[str, list[Row]] = {}
    for row in rows:
        of_query.setdefault(query_of(row), []).append(row)
    groups = list(of_query.values())
    for start in range(0, len(groups), _QUERIES_AT_ONCE):
        yield groups[start : start + _QUERIES_AT_ONCE]


def _wrong_texts(
    groups: Sequence[Sequence[Row]], texts: Sequence[str], search: Scores, wanted: int | None, seed: int
) -> list[list[str]]:
    """For each query texts that do not answer it: those that its rows bring, then what BM25 finds."""
    found = []
    scores = search([Asked(query_of(rows[0])) for rows in groups])
    for rows, values in zip(groups, scores, strict=True):
        right = {text_of(row) for row in rows}
        brought = list(dict.fromkeys(text for row in rows for text in negatives_of(row) if text not in right))
        near = [texts[index] for index in best_first(np.asarray(values)) if texts[index] not in {*right, *brought}]
        if wanted is None:
            near = near[:IN_TEST]
        else:
            near = random.Random(f"{seed}:{query_of(rows[0])}").sample(near[:DRAWN_FROM], min(wanted, len(near)))
        found.append([*brought, *near])
    return found


def _graded(groups: Sequence[Sequence[Row]], wrong: Sequence[Sequence[str]]) -> Iterator[Row]:
    for rows, texts in zip(groups, wrong, strict=True):
        for row in rows:
            yield _pair(row, text_of(row), RIGHT)
        first = rows[0]
        for number, text in enumerate(texts, 1):
            origin = f"{first.origin}+wrong{number}"
            yield replace(_pair(first, text, WRONG), id=row_id(None, f"{first.id}+wrong{number}"), origin=origin)


def _pair(row: Row, text: str, label: str) -> Row:
    messages = (Message(role=QUERY, content=query_of(row)), Message(role=TEXT, content=text))
    return replace(row, messages=messages, label=label)
