from __future__ import annotations

from data.steps.treated import changed


def test_both_ways() -> None:
    assert changed("chinese_script", "後來發現頭髮乾了") == "后来发现头发干了"
    assert changed("chinese_script", "皇后发现头发干净", to="traditional") == "皇后發現頭髮乾淨"


def test_japanese_and_code_are_left_alone() -> None:
    assert changed("chinese_script", "これは漢字の話です") == "これは漢字の話です"
    assert changed("chinese_script", '設為 `label="後"`') == '设为 `label="後"`'
