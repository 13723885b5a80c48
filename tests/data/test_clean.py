"""Cleaning changes the form of a text, never what it says, and twice is the same as once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from setsail.data.clean import clean_text

_LINES = st.lists(
    st.one_of(
        st.text(max_size=20), st.sampled_from(["```", "~~~", "", "   ", "| a  |  b |", ">>> f(  1 )", "\t- x  y"])
    ),
    max_size=8,
).map("\n".join)


@given(_LINES)
def test_twice_is_once(text: str) -> None:
    once = clean_text(text)
    assert clean_text(once.text).text == once.text
    assert clean_text(once.text).changes == ()
    assert (once.text != text) == bool(once.changes)


def test_code_and_tables_keep_their_spacing() -> None:
    text = "Try  this:\n\n```python\nif x:\n\n\n\n    y  =  1\n```\n\n| a  |  b |\n    indented  code"
    cleaned = clean_text(text).text
    assert "Try this:" in cleaned
    assert "```python\nif x:\n\n\n\n    y  =  1\n```" in cleaned
    assert "| a  |  b |" in cleaned and "    indented  code" in cleaned


def test_each_change_is_named() -> None:
    assert clean_text("a\x00b").changes == ("control_characters",)
    assert clean_text("e\u0301").text == "é"
    assert clean_text("a\r\nb\u00a0c").changes == ("line_ends", "white_space")
    assert clean_text("我们\u200b的\u3000数据").text == "我们的\u3000数据"
    assert clean_text("plain").changes == ()
