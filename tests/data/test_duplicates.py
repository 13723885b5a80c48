"""Exact and near copies: found, confirmed by the true similarity, the same every time."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from data.small_rows import WORDS, pair
from setsail.data import duplicates
from setsail.data.duplicates import contaminated, jaccard
from setsail.data.row import Message, Row
from setsail.data.sketch import sketch


def _row(name: str, question: str, answer: str) -> Row:
    return Row(name, (Message(role="user", content=question), Message(role="assistant", content=answer)), "", "", name)


def exact_copies(texts: list[str]) -> dict[int, int]:
    return _copies(duplicates.exact_copies(sketch(texts).exact))


def near_copies(texts: list[str], threshold: float) -> dict[int, int]:
    return _copies(duplicates.near_copies(sketch(texts), threshold))


def _copies(first: np.ndarray) -> dict[int, int]:
    return {place: int(original) for place, original in enumerate(first) if original != place}


def _long(seed: int, num_words: int = 60) -> list[str]:
    chance = random.Random(seed)
    return [chance.choice(WORDS) + str(chance.randint(0, 99)) for _ in range(num_words)]


def test_exact_copies_ignore_case_spacing_and_punctuation() -> None:
    assert exact_copies(["How do I reset?", "how do i  RESET", "How do I rest?", "…", "!"]) == {1: 0}


def test_near_copies_are_found_and_chains_do_not_spread() -> None:
    text = _long(1)
    near = [*text[:-1], "changed"]
    other = _long(2)
    assert near_copies([" ".join(text), " ".join(near), " ".join(other)], 0.85) == {1: 0}


def test_chinese_counts_characters() -> None:
    text = (
        "如果您忘记了登录密码，请点击登录页面下方的找回密码链接，输入注册时使用的手机号码，然后按照短信提示完成重置。"
    )
    assert near_copies(
        [text, text.replace("短信", "邮件"), "天气很好，我们去公园散步吧，顺便买一些水果回家。"], 0.7
    ) == {1: 0}


@settings(deadline=None, max_examples=30)
@given(st.lists(st.lists(st.sampled_from(WORDS[:4]), min_size=1, max_size=12).map(" ".join), max_size=20))
def test_every_near_copy_is_truly_near_and_twice_is_the_same(texts: list[str]) -> None:
    copies = near_copies(texts, 0.6)
    assert copies == near_copies(texts, 0.6)
    for copy, original in copies.items():
        left, right = grams(texts[copy]), grams(texts[original])
        assert original < copy and original not in copies
        assert len(left & right) / len(left | right) >= 0.6


def grams(text: str) -> set[str]:
    words = text.split()
    return {" ".join(words[at : at + 5]) for at in range(max(1, len(words) - 4))}


def test_the_similarity_is_that_of_sets_of_strings() -> None:
    left, right = "a b c d e f g h i j", "a b c d e f g h i k l"
    sketches = sketch([left, right])
    true = len(grams(left) & grams(right)) / len(grams(left) | grams(right))
    assert jaccard(sketches.gram_set(0), sketches.gram_set(1)) == true


def test_recall_against_all_pairs() -> None:
    texts = []
    for seed in range(60):
        words = _long(seed, 80)
        changed = list(words)
        changed[seed % 80] = "changed"
        texts += [" ".join(words), " ".join(changed)]
    assert near_copies(texts, 0.85) == {2 * n + 1: 2 * n for n in range(60)}


def test_a_test_row_that_stands_in_train_is_named() -> None:
    text = " ".join(_long(5))
    train = [_row("t0", "Where?", "Here."), _row("t1", "What is it?", text)]
    tests = [_row("e0", "where", "here"), _row("e1", "What is it?", text + " indeed"), _row("e2", **_new(9))]
    assert contaminated(tests, train, 0.85) == {"e0": "t0", "e1": "t1"}
    assert contaminated(tests, [], 0.85) == {}


def _new(number: int) -> dict[str, str]:
    return {"question": pair(number)["prompt"], "answer": pair(number)["completion"]}
