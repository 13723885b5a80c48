"""What is said of texts is measured as the field's own tools measure it, on random answers, and draw by draw."""

from __future__ import annotations

import re
import string
from collections import Counter
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.scheme import IOB2
from sklearn.metrics import (
    accuracy_score,
    cohen_kappa_score,
    mean_absolute_error,
    mean_squared_error,
    r2_score,
    roc_auc_score,
)
from sklearn.metrics import (
    f1_score as sklearn_f1,
)

from setsail.base.target import Span, of_labels, of_score, of_spans
from setsail.data.row import Message, Row
from setsail.evaluate.judges import JUDGES, normalised_answer, token_f1

KINDS = ("LOC", "ORG", "PER")
SEEDS = range(5)


def row(text: str = "", target: str = "", messages: tuple[Message, ...] = ()) -> Row:
    return Row(f"r{text}{target}", messages, text, "", "here", target=target)


def measured(task: str, rows: list[Row], said: list[dict[str, Any]], *, weights: np.ndarray | None = None) -> Any:
    weights = np.ones((1, len(rows))) if weights is None else weights
    return JUDGES[task].metrics(rows, said, weights)


def repeated(rows: list[Any], weights: np.ndarray) -> list[Any]:
    return [each for each, count in zip(rows, weights.astype(int), strict=True) for _ in range(count)]


def scores(draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    true = draw.integers(1, 6, 60).astype(float)
    return true, true + draw.normal(0, 1.2, 60)


@pytest.mark.parametrize("seed", SEEDS)
def test_scores_are_measured_as_scikit_learn_and_scipy_do(seed: int) -> None:
    true, said = scores(np.random.default_rng(seed))
    found = measured("regress", [row(target=of_score(x)) for x in true], [{"score": x} for x in said])
    levels = np.clip(np.round(said), true.min(), true.max()).astype(int)
    expected = {
        "mae": mean_absolute_error(true, said),
        "mse": mean_squared_error(true, said),
        "r2": r2_score(true, said),
        "spearman": spearmanr(true, said).statistic,
        "kappa": cohen_kappa_score(true.astype(int), levels, weights="quadratic"),
    }
    assert {name: float(values[0]) for name, values in found.items()} == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_draw_counts_a_row_as_often_as_it_stands_in_it(seed: int) -> None:
    draw = np.random.default_rng(seed)
    true, said = scores(draw)
    weights = draw.integers(0, 4, 60).astype(float)
    rows, answers = [row(target=of_score(x)) for x in true], [{"score": x} for x in said]
    drawn = measured("regress", rows, answers, weights=weights[None])
    alone = measured("regress", repeated(rows, weights), repeated(answers, weights))
    assert {name: float(values[0]) for name, values in drawn.items()} == pytest.approx(
        {name: float(values[0]) for name, values in alone.items()}, abs=1e-9
    )


def test_scores_that_are_no_levels_have_no_agreement_and_a_constant_ranks_nothing() -> None:
    rows = [row(target=of_score(x)) for x in (0.5, 1.25, 3.0)]
    found = measured("regress", rows, [{"score": 2.0}] * 3)
    assert "kappa" not in found and found["spearman"][0] == 0.0


def tags(draw: np.random.Generator, length: int) -> list[str]:
    found = ["O"] * length
    place = 0
    while place < length:
        size = int(draw.integers(1, 4))
        if draw.random() < 0.4:
            kind = KINDS[draw.integers(3)]
            found[place : place + size] = [f"B-{kind}", *[f"I-{kind}"] * (min(size, length - place) - 1)]
        place += size + 1
    return found[:length]


def spans(found: list[str]) -> list[Span]:
    """A character for each token."""
    made: list[Span] = []
    for place, tag in enumerate(found):
        if tag.startswith("B-"):
            made.append(Span(place, place + 1, tag[2:]))
        elif tag.startswith("I-"):
            made[-1] = Span(made[-1].start, place + 1, tag[2:])
    return made


@pytest.mark.parametrize("seed", SEEDS)
def test_marked_parts_are_measured_as_seqeval_does(seed: int) -> None:
    draw = np.random.default_rng(seed)
    true = [tags(draw, 20) for _ in range(30)]
    said = [each if draw.random() < 0.5 else tags(draw, 20) for each in true]
    rows = [row("x" * 20, of_spans(spans(each))) for each in true]
    answers = [{"spans": [span._asdict() for span in spans(each)]} for each in said]
    found = measured("tag", rows, answers)
    strict: dict[str, Any] = {"mode": "strict", "scheme": IOB2}
    expected = {
        "entity_f1": f1_score(true, said, **strict),
        "entity_precision": precision_score(true, said, **strict),
        "entity_recall": recall_score(true, said, **strict),
    }
    assert {name: float(values[0]) for name, values in found.items()} == pytest.approx(expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_several_labels_are_measured_as_scikit_learn_does(seed: int) -> None:
    draw = np.random.default_rng(seed)
    has, chances = draw.random((50, 3)) < 0.4, draw.random((50, 3)).round(1)
    names = ("a", "b", "c")

    def chosen(line: np.ndarray) -> list[str]:
        return [name for name, there in zip(names, line, strict=True) if there]

    rows = [row(target=of_labels(chosen(line))) for line in has]
    said = [
        {"labels": chosen(line >= 0.5), "probabilities": dict(zip(names, line.tolist(), strict=True))}
        for line in chances
    ]
    found = measured("labels", rows, said)
    expected = {
        "micro_f1": sklearn_f1(has, chances >= 0.5, average="micro"),
        "macro_f1": sklearn_f1(has, chances >= 0.5, average="macro"),
        "exact_match": accuracy_score(has, chances >= 0.5),
        "auroc": roc_auc_score(has, chances),
    }
    assert {name: float(values[0]) for name, values in found.items()} == pytest.approx(expected)


def squad_tokens(text: str) -> list[str]:
    """As the script of SQuAD 1.1 defines it: lower case, no punctuation, no articles, white space made even."""
    bare = "".join(character for character in text.lower() if character not in set(string.punctuation))
    return re.sub(r"\b(a|an|the)\b", " ", bare).split()


def squad_f1(answer: str, reference: str) -> float:
    left, right = squad_tokens(answer), squad_tokens(reference)
    shared = sum((Counter(left) & Counter(right)).values())
    if not left or not right:
        return float(left == right)
    if shared == 0:
        return 0.0
    precision, recall = shared / len(left), shared / len(right)
    return 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize("seed", SEEDS)
def test_answers_in_english_are_measured_as_squad_does(seed: int) -> None:
    draw = np.random.default_rng(seed)
    words = ["The", "a", "Eiffel-Tower", "in", "1889,", "an", "apple", "PARIS", "the end", "", "(of)"]
    for _ in range(50):
        left, right = (" ".join(draw.choice(words, int(draw.integers(0, 5)))) for _ in range(2))
        assert normalised_answer(left) == squad_tokens(left)
        assert token_f1(left, right) == pytest.approx(squad_f1(left, right))


def test_chinese_answers_are_measured_character_by_character() -> None:
    assert token_f1("法国巴黎", "巴黎") == pytest.approx(2 * 2 / 6)
    assert token_f1("《巴黎》。", "巴黎") == 1.0


def test_the_best_of_several_answers_counts_and_none_is_right_where_there_is_none() -> None:
    context = "It stands in Paris, the capital of France."
    asked = (Message(role="question", content="Where?"), Message(role="context", content=context))
    several = row(messages=asked, target=of_spans([Span(13, 18, "answer"), Span(20, 41, "answer")]))
    found = measured("answer", [several, row(messages=asked)], [{"answer": "capital of France"}, {"answer": ""}])
    assert float(found["exact_match"][0]) == 1.0
    wrong = measured("answer", [several, row(messages=asked)], [{"answer": ""}, {"answer": "Paris"}])
    assert float(wrong["token_f1"][0]) == 0.0
