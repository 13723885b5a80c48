from __future__ import annotations

import pytest
from hypothesis import given, settings

from data.steps.test_every_step import TEXTS
from data.steps.treated import changed
from setsail.data.steps.white_space import with_calm_white_space


def test_code_and_tables_keep_their_spacing() -> None:
    text = "Try  this:\n\n```python\nif x:\n\n\n\n    y  =  1\n```\n\n| a  |  b |\n    indented  code\n>>> f(1,  2)"
    assert changed("white_space", text) == text.replace("Try  this", "Try this")


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("a  b", "a b"),
        ("a \nb", "a\nb"),
        ("a \nb\t\n", "a\nb"),
        ("a\n\n\n\nb", "a\n\nb"),
        ("c\u00a0d\u2003", "c d"),
        ("\n\n  a", "  a"),
        (" \t\n ", ""),
    ],
)
def test_white_space_is_calm(text: str, after: str) -> None:
    assert changed("white_space", text) == after


def test_chinese_paragraphs_keep_their_indent() -> None:
    assert (
        changed("white_space", "\u3000\u3000第一段。\n\u3000\u3000第二段。")
        == "\u3000\u3000第一段。\n\u3000\u3000第二段。"
    )


@settings(deadline=None)
@given(TEXTS)
def test_the_quick_look_sees_all_that_there_is_to_do(text: str) -> None:
    slow = with_calm_white_space(text)
    assert changed("white_space", text) == text or slow != text
