"""Scripts and words are counted alike in any order of asking."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from setsail.data.steps.script import is_chinese, num_han, num_words, words_of


@settings(deadline=None)
@given(st.text(st.sampled_from("ab 中文。\n\u3000１"), max_size=30))
def test_words_are_counted_as_they_are_cut(text: str) -> None:
    assert num_words(text) == len(words_of(text))
    assert num_han(text) <= num_words(text)


def test_rare_characters_are_chinese_and_japanese_is_not() -> None:
    assert num_han("𠮷㐀") == 2
    assert is_chinese("请用 kubectl apply -f deploy.yaml 部署") and not is_chinese("これは日本語の文章です")
    assert not is_chinese("") and not is_chinese("plain")
