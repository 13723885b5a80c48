from __future__ import annotations

from data.steps.treated import changed


def test_letters_and_digits_are_narrow_and_punctuation_is_chinese() -> None:
    assert changed("full_width", "ＧＰＵ　８０Ｇ，（ｏｋ）！") == "GPU　80G，（ok）！"


def test_punctuation_on_request() -> None:
    assert changed("full_width", "Ｈｉ，　（ｏｋ）！", punctuation=True) == "Hi, (ok)!"


def test_code_stays() -> None:
    assert changed("full_width", "`Ａ` Ａ") == "`Ａ` A"
