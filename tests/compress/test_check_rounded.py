"""What the check lets pass of eight bits, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from setsail.compress.check_reader import ReadObservation, ReadProbe, ReadReference
from setsail.compress.check_rounded import MOST_OFF, compare_rounded_readings, compare_rounded_values
from setsail.compress.check_values import ValueObservation, ValueProbe, ValueReference

DRAW = np.random.default_rng(1)
LOGITS = DRAW.normal(0, 2, (40, 3))
LABELS = ("a", "b", "c")


def reference(logits: np.ndarray = LOGITS, task: str = "classify") -> ReadReference:
    probes = tuple(
        ReadProbe(f"r{n}", ("t",), (1, n), tuple(map(tuple, np.atleast_2d(line)))) for n, line in enumerate(logits)
    )
    return ReadReference(task, LABELS, probes)


def seen(logits: np.ndarray) -> ReadObservation:
    lines = tuple(tuple(map(tuple, np.atleast_2d(line))) for line in logits)
    return ReadObservation("onnx int8", LABELS, tuple((1, n) for n in range(len(logits))), lines)


def failed(logits: np.ndarray, made: ReadReference | None = None) -> list[str]:
    return [each.check for each in compare_rounded_readings(made or reference(), seen(logits)) if not each.passed]


def test_rounding_passes_and_more_than_rounding_does_not() -> None:
    noise = DRAW.normal(0, 1, LOGITS.shape)
    assert failed(LOGITS) == [] and failed(LOGITS + 0.1 * noise) == []
    assert "logits, off as a share of their spread" in failed(LOGITS + 3 * MOST_OFF * LOGITS.std() * noise)


def test_sure_decisions_that_fall_otherwise_are_counted() -> None:
    other, sure = LOGITS.copy(), np.sort(LOGITS)[:, -1] - np.sort(LOGITS)[:, -2] > 1
    places = np.flatnonzero(sure)[:3]
    for place in places:
        other[place, LOGITS[place].argmax()] -= 5
    finding = compare_rounded_readings(reference(), seen(other))[-1]
    assert finding.check == "sure decisions that fall otherwise" and not finding.passed
    assert finding.detail == f"3 of {sure.sum()}"
    close = LOGITS.copy()
    nearly = np.argmin(np.sort(LOGITS)[:, -1] - np.sort(LOGITS)[:, -2])
    close[nearly] = close[nearly][::-1] * 0.9 + close[nearly] * 0.1
    assert compare_rounded_readings(reference(), seen(close))[-1].passed


def test_each_label_of_several_is_a_decision() -> None:
    made, other = reference(task="labels"), -LOGITS
    finding = compare_rounded_readings(made, seen(other))[-1]
    assert finding.value == 1.0 and finding.detail == f"{(np.abs(LOGITS) >= 1).sum()} of {(np.abs(LOGITS) >= 1).sum()}"


def test_of_an_answer_it_is_decided_where_it_starts_and_ends() -> None:
    tokens = DRAW.normal(0, 1, (12, 20, 2))
    for number, each in enumerate(tokens):
        each[number, 0] = each[number + 3, 1] = 9
    made = reference(tokens, task="answer")
    assert compare_rounded_readings(made, seen(tokens))[-1].detail == "0 of 24"
    moved = tokens.copy()
    moved[0, :, 0] = np.roll(moved[0, :, 0], 1)
    moved[1, :, 0] = np.roll(moved[1, :, 0], 1)
    assert compare_rounded_readings(made, seen(moved))[-1].detail == "2 of 24"


def test_other_ids_and_other_labels_are_not_rounding() -> None:
    good = seen(LOGITS)
    ids = compare_rounded_readings(reference(), replace(good, ids=((9, 9), *good.ids[1:])))
    assert [each.check for each in ids if not each.passed] == ["texts with other token ids"]
    names = compare_rounded_readings(reference(), replace(good, labels=("a", "c", "b")))
    assert not names[0].passed and names[0].check == "labels of another name"


@pytest.mark.parametrize(("scale", "passes"), [(0.0, True), (0.1, True), (0.6, False)])
def test_vectors_may_turn_a_little(scale: float, passes: bool) -> None:
    vectors = DRAW.normal(0, 1, (20, 8))
    probes = tuple(ValueProbe(f"r{n}", ("t",), (1, n), tuple(line)) for n, line in enumerate(vectors))
    off = vectors + scale * DRAW.normal(0, 1, vectors.shape)
    found = ValueObservation("onnx int8", tuple((1, n) for n in range(20)), tuple(map(tuple, off)))
    findings = compare_rounded_values(ValueReference("vectors", probes), found)
    assert all(each.passed for each in findings) == passes
    shorter = replace(found, values=tuple(line[:-1] for line in found.values))
    assert compare_rounded_values(ValueReference("vectors", probes), shorter)[-1].check == "vectors of another size"
