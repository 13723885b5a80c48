"""The battery: every check tells a good answer from a bad one, and what is asked is the same everywhere."""

from __future__ import annotations

import hashlib
import json

import pytest

from setsail.evaluate.battery import checks
from setsail.evaluate.battery.instructions import CHINESE, ENGLISH
from setsail.evaluate.battery.items import SKILLS, VERSION, passages, questions
from setsail.evaluate.battery.sums import sums

GOOD_AND_BAD = [
    (checks.says("blue river"), '"Blue river."', "The blue river"),
    (checks.says("1, 2, 3"), "1,2,3", "1, 2, 3, 4"),
    (checks.contains("Rome"), "It is ROME, of course", "Paris"),
    (checks.starts_with("Today"), " Today it rains.", "today it rains."),
    (checks.starts_with("今天"), "今天下雨。", "今天"),
    (checks.ends_with("done"), "Rome. Done.", "done"),
    (checks.lines(2), "a\n\nb\n", "a\nb\nc"),
    (checks.lines(2, "-"), "- a\n- b", "- a\nb"),
    (checks.most_words(3), "cold and white", "cold"),
    (checks.most_words(3), "cold and white", "it is cold and white"),
    (checks.most_characters(4), "雪白", "一二三四五"),
    (checks.in_case("upper"), "HELLO, 1!", "Hello"),
    (checks.in_case("lower"), "hello", "?"),
    (checks.in_language("zh"), "我是助手 Bob", "I am 你"),
    (checks.in_language("en"), "Hello there", "你好"),
    (checks.json_object("name", "age"), '```json\n{"name": "A", "age": 3}\n```', '{"name": "A"}'),
    (checks.json_list(3), "[1, 2, 3]", "[1, 2, 3"),
    (checks.last_number(22), "17 + 5 = 22\nand 3 more", "22 is 17 + 5"),
    (checks.last_number(1200), "\nIt is 1,200.", ""),
    (checks.every(checks.contains("a"), checks.contains("b")), "ab", "a"),
]


@pytest.mark.parametrize(("check", "good", "bad"), GOOD_AND_BAD)
def test_a_check_tells_good_from_bad(check: checks.Check, good: str, bad: str) -> None:
    assert check(good) and not check(bad)


@pytest.mark.parametrize("instruction", [*ENGLISH, *CHINESE], ids=lambda each: each.prompt)
def test_nothing_and_noise_keep_to_no_instruction(instruction: object) -> None:
    check = instruction.check  # type: ignore[attr-defined]
    assert not check("") and not check("\n") and not check("￥%7@ #" * 40)


def test_every_skill_has_enough_items_to_tell() -> None:
    items = [*passages(), *questions(answers=True)]
    counts = {skill: sum(item.skill == skill for item in items) for skill in SKILLS}
    assert counts == {
        "english_text": 28,
        "chinese_text": 28,
        "english_instructions": 20,
        "chinese_instructions": 20,
        "sums": 32,
    }
    assert len({item.id for item in items}) == len(items)
    assert {item.skill for item in questions(answers=False)} == {"sums"}


def test_passages_are_in_their_language_and_short_enough() -> None:
    for passage in passages():
        assert 150 < len(passage.text.encode()) < 400
    chinese = "".join(each.text for each in passages() if each.skill == "chinese_text")
    assert sum("\u4e00" <= character <= "\u9fff" for character in chinese) > 0.7 * len(chinese)


def test_the_version_stands_for_these_items() -> None:
    """Whoever changes an item changes the version, and then this digest."""
    texts = [(item.id, item.text) for item in passages()]
    asked = [(item.id, item.prompt, item.max_tokens) for way in (True, False) for item in questions(answers=way)]
    digest = hashlib.sha256(json.dumps([texts, asked, sums()], default=vars).encode()).hexdigest()
    assert (VERSION, digest[:16]) == (1, "c37e1121d8943830")


def test_sums_are_right_and_differ() -> None:
    for each in sums():
        left, operator, right = each.asked.split()
        results = {"+": int(left) + int(right), "-": int(left) - int(right), "×": int(left) * int(right)}
        assert each.answer == results[operator] >= 0
    assert len({each.asked for each in sums()}) == 32
    assert sums(seed=2) != sums()
