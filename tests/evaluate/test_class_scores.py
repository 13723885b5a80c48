"""Figures of a classifier: equal to scikit-learn's and scipy's, paired, grouped, and what they decide."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, precision_recall_fscore_support, roc_auc_score

from setsail.base.page.blocks import Figure, Table
from setsail.data.row import Row
from setsail.evaluate import class_scores, ladder
from setsail.evaluate.class_baselines import keywords, majority, neighbours, tfidf_regression
from setsail.evaluate.class_scores import Truth
from setsail.evaluate.classify import COMPARISONS, evaluate_classes
from setsail.evaluate.evaluation import read_evaluation
from setsail.evaluate.interval import Interval
from setsail.evaluate.ladder import Cost, climb
from setsail.evaluate.probabilities import ranking
from setsail.evaluate.report.about_classes import classes_chapter
from setsail.evaluate.report.words import words_in
from setsail.evaluate.score import Plan

LABELS = ("account", "billing", "delivery", "退款")


def some_rows(num: int, *, seed: int = 1) -> list[Row]:
    draw = np.random.default_rng(seed)
    words = {"account": "login", "billing": "invoice", "delivery": "parcel", "退款": "退款"}
    labels = draw.choice(LABELS, num, p=[0.5, 0.3, 0.15, 0.05])
    return [
        Row(f"r{n:03}", (), f"{words[label]} {draw.integers(1000)}", "", f"t.csv:{n}", str(label))
        for n, label in enumerate(labels)
    ]


def probabilities(num: int, *, seed: int = 2, lean: float = 0.0, truth: np.ndarray | None = None) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(size=(num, len(LABELS)))
    if truth is not None:
        logits[np.arange(num), truth] += lean
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def truth_of(rows: list[Row], *, resamples: int = 300) -> Truth:
    labels = np.array([LABELS.index(row.label) for row in rows])
    return Truth(labels, tuple(row.group for row in rows), len(LABELS), resamples, seed=3)


@pytest.mark.parametrize("seed", range(4))
def test_figures_equal_scikit_learns(seed: int) -> None:
    rows = some_rows(60 if seed else 8, seed=seed)
    truth = truth_of(rows, resamples=50)
    found = probabilities(len(rows), seed=seed, lean=1.0, truth=truth.labels)
    said = found.argmax(axis=1)
    measured = class_scores.measure(truth, found)
    metrics = class_scores.intervals(truth, measured)
    macro = precision_recall_fscore_support(truth.labels, said, average="macro", zero_division=0)
    for name, expected in zip(("macro_precision", "macro_recall", "macro_f1"), macro[:3], strict=True):
        assert metrics[name].value == pytest.approx(expected), name
    assert metrics["accuracy"].value == pytest.approx(accuracy_score(truth.labels, said))
    assert metrics["nats_per_row"].value == pytest.approx(log_loss(truth.labels, found, labels=range(len(LABELS))))
    assert metrics["auroc"].value == pytest.approx(_auroc(truth.labels, found))
    assert metrics["ece"].value == pytest.approx(_calibration_error(truth.labels, found))
    each = precision_recall_fscore_support(truth.labels, said, labels=range(len(LABELS)), zero_division=0)
    scores = class_scores.class_scores(truth, measured, LABELS)
    for index, score in enumerate(scores):
        ours = (score.precision.value, score.recall.value, score.f1.value, score.num_rows)
        assert ours == pytest.approx(tuple(column[index] for column in each))
    matrix = class_scores.confusion_matrix(truth, said)
    assert (matrix == confusion_matrix(truth.labels, said, labels=range(len(LABELS)))).all()


def _auroc(labels: np.ndarray, found: np.ndarray) -> float:
    there = [label for label in range(len(LABELS)) if 0 < (labels == label).sum() < len(labels)]
    return float(np.mean([roc_auc_score(labels == label, found[:, label]) for label in there]))


def _calibration_error(labels: np.ndarray, found: np.ndarray) -> float:
    """As Guo et al. write it."""
    best, right = found.max(axis=1), found.argmax(axis=1) == labels
    total = 0.0
    for number in range(15):
        inside = (best >= number / 15) & ((best < (number + 1) / 15) | (number == 14))
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - best[inside].mean())
    return total


def test_a_draw_is_scikit_learns_figure_of_the_drawn_rows() -> None:
    rows = some_rows(40)
    truth = truth_of(rows, resamples=5)
    found = probabilities(40, lean=1.0, truth=truth.labels)
    measured = class_scores.measure(truth, found)
    draws = class_scores.draw_units(truth.groups, 40, resamples=5, seed=3)
    for number, weights in enumerate(draws):
        picked = np.repeat(np.arange(40), weights)
        assert len(picked) == 40
        expected = precision_recall_fscore_support(
            truth.labels[picked], found.argmax(axis=1)[picked], average="macro", zero_division=0
        )[2]
        drawn = class_scores.Counts(*(getattr(measured.draws, name)[number] for name in ("right", "said", "true")))
        assert float(drawn.macro(drawn.f1)) == pytest.approx(expected)
        auroc, ece = (measured.trust[name][1 + number] for name in ("auroc", "ece"))
        assert auroc == pytest.approx(_auroc(truth.labels[picked], found[picked]))
        assert ece == pytest.approx(_calibration_error(truth.labels[picked], found[picked]))


def test_equal_probabilities_rank_by_half_and_one_class_alone_by_chance() -> None:
    labels, even = np.array([0, 0, 1]), np.full((3, 2), 0.5)
    assert ranking(labels, even, np.ones((1, 3))) == pytest.approx(0.5)
    assert ranking(np.zeros(3, np.int64), even, np.ones((2, 3))) == pytest.approx(0.5)
    assert ranking(labels, np.eye(2)[labels], np.array([[1.0, 1.0, 0.0]])) == pytest.approx(0.5)


def test_groups_are_drawn_whole() -> None:
    draws = class_scores.draw_units(["a", "a", "b", "", ""], 5, resamples=20, seed=1)
    assert all(weights[0] == weights[1] and weights[:4].sum() - weights[0] + weights[4] == 4 for weights in draws)


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    inside = 0
    for seed in range(100):
        draw = np.random.default_rng(seed)
        labels = draw.integers(0, 2, 200)
        said = np.where(draw.random(200) < 0.8, labels, 1 - labels)
        truth = Truth(labels, ("",) * 200, 2, 200, seed)
        interval = class_scores.intervals(truth, class_scores.measure(truth, np.eye(2)[said]))["macro_f1"]
        inside += interval.low <= 0.8 <= interval.high
    assert 87 <= inside <= 100


def test_a_difference_is_paired_and_its_test_is_mcnemars() -> None:
    rows = some_rows(120)
    truth = truth_of(rows)
    good, poor = (
        class_scores.measure(truth, probabilities(120, seed=5, lean=lean, truth=truth.labels)) for lean in (3.0, 0.5)
    )
    gaps = class_scores.gaps(truth, good, poor)
    assert gaps["macro_f1"].low > 0 and gaps["accuracy"].low > 0 and gaps["nats_per_row"].high < 0
    same = class_scores.gaps(truth, good, good)
    assert all(gap.value == gap.low == gap.high == 0.0 for gap in same.values())
    paired = class_scores.mcnemar(("good", "poor"), good, poor)
    only_good = int(((good.right == 1) & (poor.right == 0)).sum())
    only_poor = int(((good.right == 0) & (poor.right == 1)).sum())
    assert (paired.only_system, paired.only_against) == (only_good, only_poor)
    assert paired.p_value == pytest.approx(binomtest(only_good, only_good + only_poor).pvalue)
    assert class_scores.mcnemar(("a", "b"), good, good).p_value == 1.0


def test_baselines_learn_from_training_rows_alone() -> None:
    train, validation, test = (some_rows(num, seed=seed) for num, seed in ((120, 1), (40, 2), (40, 3)))
    texts, labels = [row.text for row in test], [row.label for row in test]
    always = majority(train, LABELS)(texts)
    assert always.sum(axis=1) == pytest.approx(1.0) and set(always.argmax(axis=1)) == {LABELS.index("account")}
    learned = tfidf_regression(train, validation, LABELS)(texts)
    assert learned.shape == (40, 4) and learned.sum(axis=1) == pytest.approx(1.0)
    assert [LABELS[index] for index in learned.argmax(axis=1)] == labels
    again = tfidf_regression(train, validation, LABELS)(texts)
    assert (again == learned).all()


def test_a_label_without_training_rows_has_probability_zero() -> None:
    train = [row for row in some_rows(120) if row.label != "退款"]
    found = tfidf_regression(train, [], LABELS)(["退款 退款"])
    assert found[0, 3] == 0.0 and found.sum() == pytest.approx(1.0)


def test_rules_of_keywords_know_the_words_that_betray_a_label() -> None:
    train, test = some_rows(200, seed=1), some_rows(40, seed=3)
    found = keywords(train, LABELS)([row.text for row in test])
    assert found.sum(axis=1) == pytest.approx(1.0)
    assert [LABELS[index] for index in found.argmax(axis=1)] == [row.label for row in test]
    unknown = keywords(train, LABELS)(["nothing of it"])
    assert LABELS[int(unknown.argmax())] == "account", "without a keyword the most frequent label"
    few = [Row(f"r{n}", (), f"word{n}", "", "t:1", LABELS[n % 2]) for n in range(4)]
    assert keywords(few, LABELS)(["word1"]).argmax() == 0, "no word stands in enough rows"


def test_nearest_texts_count_by_their_cosine_and_validation_says_how_many() -> None:
    places = {"a": (1.0, 0.0), "b": (0.0, 1.0), "odd": (0.8, 0.6)}
    asked: list[int] = []

    def vectors(texts: Sequence[str]) -> np.ndarray:
        asked.append(len(texts))
        return np.array([places[text] for text in texts], np.float32).reshape(len(texts), 2)

    def row(text: str, label: str) -> Row:
        return Row(text, (), text, "", "t:1", label)

    train = [*[row("a", "account")] * 6, *[row("b", "billing")] * 3, row("odd", "billing")]
    for expected in ("account", "billing"):  # by the five nearest, or by the nearest alone
        classify = neighbours(vectors, train, [row("odd", expected)] * 3, LABELS)
        assert asked[-2:] == [10, 3]
        (shares,) = classify(["odd"])
        assert shares.sum() == pytest.approx(1.0) and LABELS[int(shares.argmax())] == expected
    assert neighbours(vectors, train[:1], [], LABELS)(["b"]).argmax() == 0


def gap_of(value: float, half: float = 0.02, units: int = 100) -> Interval:
    return Interval(value, value - half, value + half, units)


@pytest.mark.parametrize(
    ("values", "half", "units", "stop", "told"),
    [
        ({"majority": 0.2, "tfidf": 0.89, "tuned": 0.9}, 0.02, 100, "tfidf", "1/720 of the cost"),
        ({"majority": 0.2, "tfidf": 0.8, "tuned": 0.9}, 0.02, 100, "tuned", "worth what it costs"),
        ({"majority": 0.2, "tfidf": 0.9, "tuned": 0.8}, 0.02, 100, "tfidf", "Each cheaper way"),
        ({"majority": 0.9, "tfidf": 0.8, "tuned": 0.8}, 0.02, 100, "majority", "the best and the cheapest"),
        ({"majority": 0.2, "tfidf": 0.89, "tuned": 0.9}, 0.02, 9, "", "only 9 independent"),
    ],
)
def test_one_stops_on_the_cheapest_rung_that_is_not_shown_to_be_worse(
    values: dict[str, float], half: float, units: int, stop: str, told: str
) -> None:
    costs = {"majority": Cost(0.0, 0.1), "tfidf": Cost(0.5, 0.2), "tuned": Cost(360.0, 9.0)}
    climbed = climb("macro_f1", values, costs, lambda a, b: gap_of(values[a] - values[b], half, units), core_hour=0.5)
    assert climbed.stop == stop and [rung.system for rung in climbed.rungs] == ["majority", "tfidf", "tuned"]
    assert told in ladder.sentence(climbed) and climbed.money(climbed.rung("tuned")) == pytest.approx(0.05)
    assert re.search("[\u4e00-\u9fff]", ladder.sentence(climbed, "zh"))


def evaluation_of(out: Path, *, lean: float = 2.5):
    rows = some_rows(80)
    truth = truth_of(rows)
    systems = {
        "tuned": lambda texts: probabilities(80, lean=lean, truth=truth.labels),
        "tfidf": lambda texts: probabilities(80, seed=9, lean=1.0, truth=truth.labels),
        "majority": majority(rows, LABELS),
    }
    plan = Plan(COMPARISONS, num_samples=3, resamples=200)
    making = {"tuned": 360.0, "tfidf": 0.5, "majority": 0.0}
    return rows, evaluate_classes(systems, rows, LABELS, out, plan=plan, making=making, core_hour=0.5)


def test_the_verdict_is_over_the_stronger_baseline_and_the_file_reads_back(tmp_path: Path) -> None:
    rows, evaluation = evaluation_of(tmp_path)
    assert evaluation.decision == "better" and evaluation.comparisons[0].lead == "macro_f1"
    assert evaluation.verdict.startswith("The tuned model is better than TF-IDF with logistic regression: macro F1 ")
    assert read_evaluation(tmp_path / "evaluation.json") == evaluation
    report = evaluation.classes
    assert report is not None and sum(map(sum, report.matrix)) == 80
    assert sum(each.num_rows for each in report.confusions) == 80 - sum(report.matrix[i][i] for i in range(4))
    assert [each.against for each in report.paired] == ["tfidf", "majority"]
    lines = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text("utf-8").splitlines()]
    assert [line["row_id"] for line in lines] == [row.id for row in rows]
    wrong = [line for line in lines if line["systems"]["tuned"]["label"] != line["label"]]
    assert len(wrong) > 3
    surest = sorted(wrong, key=lambda line: (-line["systems"]["tuned"]["probability"], line["row_id"]))[:3]
    assert [mistake.row_id for mistake in report.mistakes] == [line["row_id"] for line in surest]


def test_training_that_was_not_worth_it_is_said_so(tmp_path: Path) -> None:
    _, evaluation = evaluation_of(tmp_path, lean=-1.0)
    assert evaluation.decision == "worse"
    assert evaluation.verdict.startswith("The tuned model is worse than TF-IDF with logistic regression")


def test_a_certain_mistake_costs_much_and_not_infinitely_much() -> None:
    truth = Truth(np.array([0, 1]), ("", ""), 2, 10, 1)
    metrics = class_scores.intervals(truth, class_scores.measure(truth, np.array([[0.0, 1.0], [0.0, 1.0]])))
    assert math.isfinite(metrics["nats_per_row"].value) and metrics["nats_per_row"].value > 100


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_chapter_has_a_table_for_each_thing(language, tmp_path: Path) -> None:
    _, evaluation = evaluation_of(tmp_path)
    assert evaluation.classes is not None
    chapter = classes_chapter(evaluation.classes, words_in(language))
    tables = [block for block in chapter.blocks if isinstance(block, Table)]
    assert [len(table.rows) for table in tables] == [4, 4, len(evaluation.classes.confusions), 2, 3]
    (drawn,) = (block for block in chapter.blocks if isinstance(block, Figure))
    assert drawn.svg.count("<circle") == len(evaluation.classes.reliability) > 3
    assert chapter.blocks[1].rows[0][1].text == str(evaluation.classes.matrix[0][0])
