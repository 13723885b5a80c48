"""Slices of a test, doubtful labels, the bins of reliability, and a model on an encoder's vectors."""

from __future__ import annotations

import random

import numpy as np
import pytest

from setsail.data.row import Row
from setsail.evaluate.class_baselines import linear_model, probe
from setsail.evaluate.doubts import doubts
from setsail.evaluate.interval import Interval, bootstrap
from setsail.evaluate.probabilities import calibration_error, reliability
from setsail.evaluate.slices import Told, cut, source_of

ENGLISH = "The parcel came late and the box was broken when it was opened at home"
CHINESE = "包裹来得很晚，打开的时候盒子已经坏了，客服也一直没有回复我的消息"


TOPICS = {"parcel": "parcel late box truck", "money": "invoice refund sum bank", "login": "password app crash screen"}


def classifier_rows(num: int) -> list[Row]:
    """Texts of four words of their topic and four of anything."""
    draw = random.Random(5)
    filler = ["the", "a", "of", "to", "it", "was", "my", "and", "so", "when"]
    rows = []
    for number in range(num):
        label = draw.choice(sorted(TOPICS))
        words = draw.choices(TOPICS[label].split(), k=4) + draw.choices(filler, k=4)
        rows.append(Row(f"r{number:04}", (), " ".join(words), "", f"toy.csv:{number + 2}", label))
    return rows


def rows_told(num: int) -> list[Told]:
    """English texts from one file, Chinese ones from another, the Chinese twice as often."""
    return [
        Told(ENGLISH + " again" * (n % 7), f"a.csv:{n}") if n % 3 == 0 else Told(CHINESE * (1 + n % 4), f"b.csv:{n}")
        for n in range(num)
    ]


def test_slices_hold_the_rows_that_their_names_say() -> None:
    rows = rows_told(90)
    right = np.array([1.0 if row.origin.startswith("a") else 0.5 for row in rows])
    seen: dict[tuple[int, ...], int] = {}

    def measure(places):
        seen[tuple(places)] = len(places)
        return {"tuned": bootstrap(right[places].tolist(), resamples=50)}

    found = cut(rows, "accuracy", measure)
    by_name = {(each.by, each.name.strip()): each for each in found.found}
    assert by_name["language", "en"].num_rows == 30 and by_name["language", "zh"].num_rows == 60
    assert by_name["source", "a.csv"].scores["tuned"].value == 1.0
    assert by_name["source", "b.csv"].scores["tuned"].value == 0.5
    assert sum(each.num_rows for each in found.found if each.by == "length") == 90
    assert found.whole["tuned"].value == pytest.approx(right.mean())
    assert {each.name for each in found.weak} >= {"zh", "b.csv"} and "en" not in {each.name for each in found.weak}


def test_of_a_metric_that_should_be_low_the_high_slices_are_weak() -> None:
    values = {"a.csv": 1.0, "b.csv": 3.0}
    rows = rows_told(90)

    def measure(places):
        mean = float(np.mean([values[source_of(rows[place].origin)] for place in places]))
        return {"tuned": Interval(mean, mean - 0.1, mean + 0.1, len(places))}

    weak = cut(rows, "bits_per_byte", measure).weak
    assert {each.name for each in weak if each.by == "source"} == {"b.csv"}


@pytest.mark.parametrize(("num", "expected"), [(9, set()), (0, set())])
def test_too_few_rows_are_no_slice(num: int, expected: set[str]) -> None:
    rows = [*rows_told(num), *[Told(ENGLISH, f"c.csv:{n}") for n in range(12)]]
    found = cut(rows, "accuracy", lambda places: {"tuned": Interval(1.0, 1.0, 1.0, len(places))})
    assert {each.name for each in found.found if each.by == "source"} == ({"c.csv"} if num else expected)


def test_flipped_labels_are_the_ones_in_doubt() -> None:
    draw = random.Random(1)
    rows = classifier_rows(400)
    flipped = set(draw.sample(range(len(rows)), 20))
    labels = sorted({row.label for row in rows})
    wrong = [
        Row(row.id, (), row.text, row.group, row.origin, labels[(labels.index(row.label) + 1) % len(labels)])
        if place in flipped
        else row
        for place, row in enumerate(rows)
    ]
    found = doubts(wrong, labels, lambda known: linear_model(known, labels)(10.0), seed=0)
    assert found is not None
    ids = {rows[place].id for place in flipped}
    assert sum(each.row_id in ids for each in found.shown) >= 0.8 * len(found.shown) > 10
    clean = doubts(rows, labels, lambda known: linear_model(known, labels)(10.0), seed=0)
    assert clean is not None and clean.num_doubtful < found.num_doubtful / 4
    assert doubts(rows[:10], labels, lambda known: linear_model(known, labels)(10.0), seed=0) is None


def test_the_bins_give_the_calibration_error_again() -> None:
    rng = np.random.default_rng(3)
    probabilities = rng.dirichlet([0.4] * 4, size=300)
    labels = rng.integers(0, 4, size=300)
    bins = reliability(labels, probabilities)
    assert sum(each.num_rows for each in bins) == 300
    error = sum(each.num_rows * abs(each.accuracy - each.probability) for each in bins) / 300
    assert error == pytest.approx(calibration_error(labels, probabilities, np.ones((1, 300)))[0])
    assert [each.probability for each in bins] == sorted(each.probability for each in bins)


def test_a_probe_reads_vectors_alone() -> None:
    rows = classifier_rows(120)
    labels = sorted({row.label for row in rows})

    def vectors(texts):
        return np.array([[float(word in text) for word in labels] for text in texts], np.float32)

    marked = [Row(row.id, (), f"{row.text} {row.label}", "", "", row.label) for row in rows]
    said = probe(vectors, marked[:80], marked[80:100], labels)([row.text for row in marked[100:]])
    assert [labels[int(place)] for place in said.argmax(axis=1)] == [row.label for row in marked[100:]]
    assert said.sum(axis=1) == pytest.approx(1.0)
