"""NFC for all; the compatibility forms that lose nothing on request, and none of those that do."""

from __future__ import annotations

import unicodedata

import pytest

from data.steps.treated import changed


def test_nfc() -> None:
    assert changed("unicode_form", "e\u0301") == "é"
    assert changed("unicode_form", "ﬁ ½ \uf900") == "ﬁ ½ 豈"


@pytest.mark.parametrize(
    ("text", "after"), [("ﬁne oﬃce", "fine office"), ("⼈⼯", "人工"), ("㎏ ㌔", "kg キロ"), ("ｶﾅ", "カナ")]
)
def test_nfkc_where_nothing_is_lost(text: str, after: str) -> None:
    assert changed("unicode_form", text, form="nfkc") == after == unicodedata.normalize("NFKC", text)


@pytest.mark.parametrize(
    "text", ["10²", "x₂", "1½", "①②", "5㎡", "㏠", "Ⅳ", "™", "你好，１２", "……", "𝐱", "`ﬁ`", "```\n⼈\n```"]
)
def test_nfkc_never_where_something_is(text: str) -> None:
    assert changed("unicode_form", text, form="nfkc") == text
