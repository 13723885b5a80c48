"""What the check of a classifier lets pass and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from setsail.compress.check_reader import (
    MOST_LOGITS_OFF,
    ReadObservation,
    ReadProbe,
    ReadReference,
    compare_readings,
)

REFERENCE = ReadReference(
    "classify",
    ("a", "b"),
    (ReadProbe("r1", ("one",), (1, 7, 2), ((1.0, -1.0),)), ReadProbe("r2", ("二",), (1, 9, 2), ((-0.5, 0.5),))),
)
SAME = ReadObservation("folder", ("a", "b"), ((1, 7, 2), (1, 9, 2)), (((1.0, -1.0),), ((-0.5, 0.5),)))


def failed(seen: ReadObservation) -> list[str]:
    return [finding.check for finding in compare_readings(REFERENCE, seen) if not finding.passed]


def test_the_same_passes_and_so_does_rounding() -> None:
    assert failed(SAME) == []
    assert failed(replace(SAME, logits=(((1.0 + MOST_LOGITS_OFF / 2, -1.0),), ((-0.5, 0.5),)))) == []


@pytest.mark.parametrize(
    ("changes", "checks"),
    [
        ({"labels": ("b", "a")}, ["labels of another name"]),
        ({"labels": ("a",)}, ["labels of another name"]),
        ({"ids": ((1, 7, 2), (1, 8, 2))}, ["texts with other token ids"]),
        ({"logits": (((1.0, -1.0),), ((-0.5, 0.6),))}, ["logits, largest difference"]),
        ({"logits": (((1.0, -1.0),), ((0.5, -0.5),))}, ["logits, largest difference", "texts with another label"]),
    ],
)
def test_each_difference_has_its_name(changes: dict[str, object], checks: list[str]) -> None:
    assert failed(replace(SAME, **changes)) == checks


def test_the_first_row_that_differs_is_named() -> None:
    findings = compare_readings(REFERENCE, replace(SAME, ids=((1, 7, 2), (1, 8, 2))))
    assert [finding.detail for finding in findings if not finding.passed] == ["first row r2"]


def test_a_reference_reads_back() -> None:
    assert ReadReference.from_json(json.loads(json.dumps(REFERENCE.as_json()))) == REFERENCE
