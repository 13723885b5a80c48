"""Figures of searches: equal to trec_eval's and scipy's, BM25 by its formula, paired, and what they decide."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import ir_measures
import numpy as np
import pytest
from ir_measures import RR, R, nDCG
from scipy.stats import spearmanr

from setsail.evaluate.evaluation import read_evaluation
from setsail.evaluate.report.about_searches import missed_chapter
from setsail.evaluate.report.words import words_in
from setsail.evaluate.score import Plan
from setsail.evaluate.search import Bill, Pair, Query, evaluate_alike, evaluate_search
from setsail.evaluate.search_baselines import (
    Asked,
    alike_by_tfidf,
    alike_by_vectors,
    bm25,
    by_vectors,
    random_order,
    tfidf_cosine,
)
from setsail.evaluate.search_metrics import best_first, order_figures, spearman

TEXTS = [
    "The parcel came late and broken.",
    "Log in with your password.",
    "The invoice is wrong, the sum too high.",
    "快递坏了，请退款。",
    "Parcel, parcel, parcel!",
    "登录不上，密码错误。",
]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("num_texts", [3, 40, 900])
def test_figures_equal_trec_evals(seed: int, num_texts: int) -> None:
    draw = np.random.default_rng([seed, num_texts])
    scores = draw.random(num_texts)
    judged = draw.choice(num_texts, size=draw.integers(1, min(num_texts, 30) + 1), replace=False)
    grades = {int(text): float(draw.integers(-1, 4)) for text in judged}
    grades[int(judged[0])] = 2.0
    found = order_figures(best_first(scores).tolist(), grades)
    relevance = [ir_measures.Qrel("q", str(text), int(grade)) for text, grade in grades.items()]
    run = [ir_measures.ScoredDoc("q", str(text), float(score)) for text, score in enumerate(scores)]
    theirs = ir_measures.calc_aggregate([nDCG @ 10, RR @ 10, R @ 1, R @ 10, R @ 100], relevance, run)
    names = {"ndcg_at_10": nDCG @ 10, "mrr_at_10": RR @ 10, **{f"recall_at_{cut}": R @ cut for cut in (1, 10, 100)}}
    assert found == pytest.approx({name: theirs[measure] for name, measure in names.items()}, abs=1e-9)


def test_of_equal_scores_the_first_text_stands_first_however_many_there_are() -> None:
    assert best_first(np.zeros(5)).tolist() == [0, 1, 2, 3, 4]
    many = np.zeros(5000)
    many[[4000, 10]] = 1.0
    assert best_first(many)[:4].tolist() == [10, 4000, 0, 1] and len(best_first(many)) == 100


@pytest.mark.parametrize("seed", range(5))
def test_spearman_equals_scipys_with_ties(seed: int) -> None:
    draw = np.random.default_rng(seed)
    said, true = draw.integers(0, 8, 60).astype(float), draw.integers(0, 4, 60).astype(float)
    assert spearman(said, true) == pytest.approx(spearmanr(said, true).statistic)
    assert spearman(np.ones(5), np.arange(5.0)) == 0.0


def bm25_by_hand(texts: list[list[str]], query: list[str], text: int) -> float:
    mean = sum(map(len, texts)) / len(texts)
    counts, score = Counter(texts[text]), 0.0
    for word in query:
        having = sum(word in each for each in texts)
        idf = math.log(1 + (len(texts) - having + 0.5) / (having + 0.5))
        score += idf * counts[word] * 2.2 / (counts[word] + 1.2 * (0.25 + 0.75 * len(texts[text]) / mean))
    return score


def test_bm25_is_robertsons_formula() -> None:
    texts = ["late parcel", "parcel parcel broken box", "invoice wrong"]
    words = [text.split() for text in texts]
    (found,) = bm25(texts)([Asked("parcel box box unknown")])
    expected = [bm25_by_hand(words, ["parcel", "box", "box"], text) for text in range(3)]
    assert found.tolist() == pytest.approx(expected) and expected[0] > 0 == expected[2]


@pytest.mark.parametrize("way", [bm25, tfidf_cosine])
def test_words_are_found_in_english_and_chinese(way) -> None:
    scores = way(TEXTS)([Asked("my PARCEL is broken"), Asked("密码错误"), Asked("退款", np.array([5, 3, 0]))])
    assert int(scores[0].argmax()) == 0 and int(scores[1].argmax()) == 5
    assert len(scores[2]) == 3 and int(scores[2].argmax()) == 1


def test_texts_without_a_word_and_an_unknown_query_score_nothing() -> None:
    (found,) = bm25(["…", "!"])([Asked("parcel")])
    assert found.tolist() == [0.0, 0.0]
    assert bm25(TEXTS)([Asked("zzz")])[0].tolist() == [0.0] * len(TEXTS)


def test_a_random_order_follows_from_seed_and_query() -> None:
    first, second, again = (random_order(50, seed=seed)([Asked("a"), Asked("b")]) for seed in (1, 2, 1))
    assert np.array_equal(first[0], again[0]) and not np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], second[0])


def queries(num: int, num_texts: int) -> list[Query]:
    return [Query(f"r{n:03}", f"g{n // 2}", f"query {n}", "", {n % num_texts: 1.0}) for n in range(num)]


def systems(num_texts: int):
    def good(asked):
        rows = []
        for each in asked:
            scores = np.random.default_rng(int(each.query.split()[1])).random(num_texts)
            scores[int(each.query.split()[1]) % num_texts] += 0.6
            rows.append(each.of(scores))
        return rows

    return {"bm25": random_order(num_texts, seed=1), "tuned": good}


def test_the_whole_evaluation(tmp_path: Path) -> None:
    texts = [f"text {n}" for n in range(30)]
    plan = Plan((("tuned", "bm25"),), num_samples=4, resamples=300, seed=1)
    bill = Bill({"bm25": 0.1, "tuned": 50.0}, core_hour=0.05)
    found = evaluate_search(systems(30), queries(60, 30), texts, tmp_path, plan=plan, bill=bill)
    assert read_evaluation(tmp_path / "evaluation.json") == found
    assert found.decision == "better" and found.num_rows == 60 and found.num_groups == 30
    assert "nDCG@10" in found.verdict and found.ladder is not None and found.ladder.stop == "tuned"
    ndcg = found.systems["tuned"].metrics["ndcg_at_10"]
    assert ndcg.low < ndcg.value < ndcg.high and ndcg.num_units == 30
    lines = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    ranks = [line["systems"]["tuned"]["rank"] for line in lines]
    assert found.systems["tuned"].metrics["recall_at_1"].value == pytest.approx(np.mean([rank == 1 for rank in ranks]))
    assert [missed.rank for missed in found.missed] == sorted((rank for rank in ranks if rank != 1), reverse=True)[:4]
    for language in ("en", "zh"):
        chapter = missed_chapter(found.missed, words_in(language))
        assert len(chapter.blocks[0].rows) == 4


def test_candidates_alone_are_ordered(tmp_path: Path) -> None:
    texts = [f"text {n}" for n in range(30)]
    asked = [Query(f"r{n}", "", f"query {n}", "", {n: 2.0, 29: 0.0}, np.array([n, 29])) for n in range(12)]
    plan = Plan((), num_samples=4, resamples=100, seed=1)
    found = evaluate_search(
        {"tuned": systems(30)["tuned"]}, asked, texts, tmp_path, plan=plan, bill=Bill({"tuned": 1.0}, 0.05)
    )
    assert found.systems["tuned"].metrics["recall_at_10"].value == 1.0
    assert all(missed.first == "text 29" and missed.rank == 2 for missed in found.missed)


def test_scores_are_held_against_cosines(tmp_path: Path) -> None:
    draw = np.random.default_rng(3)
    true = draw.integers(0, 6, 50).astype(float)
    pairs = [Pair(f"r{n}", "", (f"a {n}", f"b {n}"), score) for n, score in enumerate(true)]
    said = true + draw.normal(size=50)
    ways = {"tfidf_cosine": lambda left, right: draw.random(len(left)), "tuned": lambda left, right: said}
    plan = Plan((("tuned", "tfidf_cosine"),), num_samples=4, resamples=300, seed=1)
    found = evaluate_alike(ways, pairs, tmp_path, plan=plan, bill=Bill({"tfidf_cosine": 0.1, "tuned": 9.0}, 0.05))
    assert found.systems["tuned"].metrics["spearman"].value == pytest.approx(spearmanr(said, true).statistic)
    assert found.decision == "better" and read_evaluation(tmp_path / "evaluation.json") == found


def test_likeness_of_texts_by_words_and_by_vectors() -> None:
    alike = alike_by_tfidf(TEXTS)(["the parcel is late", "the parcel is late"], ["a late parcel", "密码"])
    assert alike[0] > 0.3 and alike[1] == 0.0

    def vectors(texts):
        return np.array([[1.0, 0.0] if "parcel" in text else [0.0, 1.0] for text in texts], np.float32)

    assert alike_by_vectors(vectors)(["parcel", "parcel"], ["a parcel", "box"]).tolist() == [1.0, 0.0]
    assert by_vectors(vectors, ["a parcel", "a box"])([Asked("box")])[0].tolist() == [0.0, 1.0]
