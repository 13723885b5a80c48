from __future__ import annotations

from data.steps.treated import changed


def test_english_words_go_and_code_stays() -> None:
    assert changed("stop_words", "The kettle is on `the stove`") == " kettle `the stove`"


def test_chinese_only_when_asked_and_by_longest_match() -> None:
    assert changed("stop_words", "茶叶的价格") == "茶叶的价格"
    assert changed("stop_words", "茶叶的价格", languages=["zh"]) == "茶叶价格"
