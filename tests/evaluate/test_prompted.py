"""The rung of a prompted model: which label an answer names, and what is made of one that names none."""

from __future__ import annotations

import numpy as np
import pytest

from setsail.data.row import Row
from setsail.evaluate.prompted import named, prompted

LABELS = ("log in", "billing", "billing error", "物流")


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("billing", "billing"),
        (" **Billing**. ", "billing"),
        ("The label is: log  in", "log in"),
        ("billing error", "billing error"),
        ("It is a billing error, I think", "billing error"),
        ("物流。", "物流"),
        ("这是物流问题", "物流"),
        ("rebilling", None),
        ("", None),
        ("none of them", None),
    ],
)
def test_the_label_that_an_answer_names(answer: str, label: str | None) -> None:
    place = named(answer, LABELS)
    assert (None if place is None else LABELS[place]) == label


def row(number: int, label: str) -> Row:
    return Row(f"r{number}", (), f"text {number} of {label}", "", f"t.csv:{number}", label)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_label_gets_the_share_that_validation_had_right(language) -> None:
    train = [row(n, "billing" if n % 3 else "log in") for n in range(12)]
    validation = [row(n, "log in" if n < 6 else "billing") for n in range(8)]
    seen, unclear = [], []

    def ask(prompt: str) -> str:
        seen.append(prompt)
        return "Log in!" if prompt.endswith("of log in") else "well"

    classify = prompted(ask, train, validation, LABELS, language=language, unclear=unclear.append)
    assert unclear == [2]  # "billing" is the most frequent label of training, so that those two count as right
    found = classify(["a text of log in", "another one"])
    assert [LABELS[place] for place in found.argmax(axis=1)] == ["log in", "billing"]
    assert found.max(axis=1) == pytest.approx(9 / 10) and found.sum(axis=1) == pytest.approx(1.0)
    assert len(seen) == 10 and all("log in, billing, billing error, 物流" in prompt for prompt in seen)


def test_the_label_that_is_said_comes_first_even_of_a_bad_model() -> None:
    train, validation = [row(n, "billing") for n in range(9)], [row(n, "billing") for n in range(40)]
    classify = prompted(lambda _: "log in", train, validation, LABELS, language="en", unclear=lambda _: None)
    found = classify(["any"])
    assert LABELS[int(np.argmax(found[0]))] == "log in"
