from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics.chrf import CHRF

from setsail.evaluate.metrics import bits_per_byte, chrf, corpus_chrf, lcs_length, rouge_l, rouge_tokens

ANSWERS = ["Returns the dot product of two arrays.", "an array, the axis", "", "返回两个数组的点积。"]
REFERENCES = [
    "The dot product of `a` and `b`.",
    "axis of the array: int or None",
    "something",
    "返回数组 a 与 b 的点积。",
]


def table_lcs(left: list[str], right: list[str]) -> int:
    """The textbook table, as the slow twin."""
    row = [0] * (len(right) + 1)
    for one in left:
        above = row[:]
        for index, other in enumerate(right):
            row[index + 1] = above[index] + 1 if one == other else max(row[index], above[index + 1])
    return row[-1]


@given(st.lists(st.sampled_from("abcd"), max_size=30), st.lists(st.sampled_from("abcd"), max_size=30))
def test_the_bits_count_the_same_subsequence_as_the_table(left: list[str], right: list[str]) -> None:
    assert lcs_length(left, right) == table_lcs(left, right)


# (answer, reference, rougeL F1 that rouge-score 0.1.2 gives without stemming)
ENGLISH = [
    ("the cat sat on the mat", "the cat was on the mat", 5 / 6),
    ("Don't panic, it's numpy.dot!", "numpy.dot: do not panic", 1 / 3),
    ("axis : int or None", "axis int", 2 / 3),
    ("one two three", "four five six", 0.0),
    ("snake_case_name", "snake case name", 1.0),
    ("b a", "a b", 0.5),
    ("The AXIS", "the axis", 1.0),
]


@pytest.mark.parametrize(("answer", "reference", "expected"), ENGLISH)
def test_rouge_l_of_english_is_that_of_rouge_score(answer: str, reference: str, expected: float) -> None:
    assert rouge_l([answer], [reference]) == pytest.approx([expected])


def test_rouge_l_of_chinese_goes_by_characters() -> None:
    assert rouge_tokens("用矩阵 numpy") == ["用", "矩", "阵", "numpy"]
    assert rouge_l(["我用矩阵"], ["我用数组"]) == pytest.approx([0.5])
    assert rouge_l(["矩阵相乘"], ["矩阵相乘"]) == [1.0]


def test_chrf_is_sacrebleu_s_row_by_row_and_over_all() -> None:
    expected = [
        CHRF().sentence_score(answer, [reference]).score for answer, reference in zip(ANSWERS, REFERENCES, strict=True)
    ]
    assert chrf(ANSWERS, REFERENCES) == pytest.approx(expected)
    assert chrf(ANSWERS, REFERENCES)[2] == 0.0
    assert chrf(["点积"], ["点积"]) == pytest.approx([100.0])
    assert corpus_chrf(ANSWERS, REFERENCES) == pytest.approx(CHRF().corpus_score(ANSWERS, [REFERENCES]).score)


def test_values_are_paired_with_their_rows() -> None:
    with pytest.raises(ValueError, match="shorter"):
        rouge_l(["one"], [])


def test_bits_per_byte_of_a_uniform_guess_is_eight() -> None:
    assert bits_per_byte(100 * math.log(256), 100) == pytest.approx(8.0)
    with pytest.raises(ValueError, match="at least one byte"):
        bits_per_byte(1.0, 0)
