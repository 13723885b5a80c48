"""The vectorised counts against counts that are written down as the paper says them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.steps.proses import CHINESE, ENGLISH
from data.steps.treated import judged
from setsail.data.steps import gopher_repetition

WORDS = st.lists(st.sampled_from(["a", "bb", "ccc", "我"]), min_size=2, max_size=40)


def slow_top(words: list[str], n: int) -> set[float]:
    runs = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    counts = Counter(runs)
    most = max(counts.values())
    total = sum(map(len, words))
    return {
        min(1.0, most * sum(map(len, run)) / total) if most > 1 else 0.0 for run, num in counts.items() if num == most
    }


def slow_repeats(words: list[str], n: int) -> float:
    seen: set[tuple[str, ...]] = set()
    covered: set[int] = set()
    for i in range(len(words) - n + 1):
        run = tuple(words[i : i + n])
        if run in seen:
            covered.update(range(i, i + n))
        seen.add(run)
    return sum(len(words[i]) for i in covered) / sum(map(len, words))


@settings(deadline=None)
@given(WORDS, st.sampled_from([1, 2]))
def test_shares_are_those_of_plain_counting(words: list[str], words_each: int) -> None:
    lengths = np.array([len(word) for word in words])
    for n, runs in runs_of(words, words_each):
        top = gopher_repetition._share_of_top(runs, lengths, n)
        assert any(top == pytest.approx(value) for value in slow_top(words, n))
        assert gopher_repetition._share_of_repeats(runs, lengths, n) == pytest.approx(slow_repeats(words, n))


def runs_of(words: list[str], words_each: int) -> list[tuple[int, np.ndarray]]:
    ids = np.array([sorted(set(words)).index(word) for word in words])
    each = ids if words_each == 1 else gopher_repetition._joined(ids, ids, 1)
    runs, found = each, []
    for n in range(2 * words_each, min(len(words), 6) + 1, words_each):
        runs = gopher_repetition._joined(runs, each, n - words_each)
        found.append((n, runs))
    return found


@settings(deadline=None)
@given(WORDS, st.integers(5, 9))
def test_longer_runs_take_up_no_more_than_shorter_ones(words: list[str], n: int) -> None:
    if len(words) > n:
        assert slow_repeats(words, n + 1) <= slow_repeats(words, n) + 1e-12


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("a line\nb line\n" * 3, "repeated lines 0.67 > 0.3"),
        ("x\ny\nz\nw\nq\n" + "a much longer line of words\n" * 2, "characters in repeated lines 0.46 > 0.2"),
        ("buy tea now " * 30, "characters in the most frequent 2-gram"),
        (ENGLISH + " " + ENGLISH.replace("\n", " "), "characters in repeated 5-grams 0.5"),
        (CHINESE + CHINESE.replace("\n", ""), "characters in repeated 10-grams 0."),
    ],
)
def test_repetition_is_found(text: str, detail: str) -> None:
    verdict = judged("gopher_repetition", text)
    assert verdict and verdict.reason == "repetitive" and verdict.detail.startswith(detail)


def test_paragraphs() -> None:
    text = "\n\n".join(f"first {i}\nsecond {i}" for i in (1, 1, 2, 3, 4))
    assert judged("gopher_repetition", text) is not None


@pytest.mark.parametrize("text", [ENGLISH, CHINESE, "", "one", "你好", "\n\n"])
def test_prose_stays(text: str) -> None:
    assert judged("gopher_repetition", text) is None
