from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from setsail.tokens.stream import Detokenizer
from setsail.tokens.tokenizer import Tokenizer

TEXTS = st.text(st.sampled_from("ab \n你好😀é�<|im_end|>"), max_size=30) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=20
)


def stream(tokenizer: Tokenizer, ids: list[int], *stop: str) -> tuple[list[str], bool]:
    detokenizer = Detokenizer(tokenizer, stop)
    pieces = [detokenizer.push(index) for index in ids]
    return [*pieces, detokenizer.finish()], detokenizer.stopped


@pytest.mark.parametrize("text", ["😀🚀", "你好，世界", "naïve café", "鬱龘", "👩‍🚀 ok", ""])
def test_no_half_character_is_given_out(chatml: Tokenizer, spaced: Tokenizer, text: str) -> None:
    for tokenizer in (chatml, spaced):
        pieces, _ = stream(tokenizer, tokenizer.encode(text))
        assert "".join(pieces) == text
        assert "\ufffd" not in "".join(pieces)


def test_text_comes_as_soon_as_it_is_certain(chatml: Tokenizer) -> None:
    ids = chatml.encode("The quick 你好")
    pieces, _ = stream(chatml, ids)
    assert len([piece for piece in pieces if piece]) > 2
    assert pieces[-1] == ""


def test_special_tokens_give_no_text(chatml: Tokenizer) -> None:
    assert stream(chatml, chatml.encode("hello<|im_end|>"))[0][-2:] == ["", ""]


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [
        ("hello\nUser: more", ("\nUser:",), "hello"),
        ("hello\nUse it", ("\nUser:",), "hello\nUse it"),
        ("hello\nUse", ("\nUser:",), "hello\nUse"),
        ("aaab", ("aab",), "a"),
        ("a 你好 b", ("你好",), "a "),
        ("a 😀 b", ("😀",), "a "),
        ("xyz", ("yz", "xyz"), ""),
        ("one two three", ("three", "two"), "one "),
        ("STOP", ("STOP",), ""),
        ("no end", (), "no end"),
    ],
)
def test_stop_strings_across_tokens(chatml: Tokenizer, text: str, stop: tuple[str, ...], expected: str) -> None:
    singles = [index for character in text for index in chatml.encode(character)]
    for ids in (chatml.encode(text), singles):
        pieces, stopped = stream(chatml, ids, *stop)
        assert "".join(pieces) == expected
        assert stopped == (expected != text)


def test_nothing_comes_after_the_stop(chatml: Tokenizer) -> None:
    detokenizer = Detokenizer(chatml, ("b",))
    assert "".join(detokenizer.push(index) for index in chatml.encode("abc")) == "a"
    assert detokenizer.push(chatml.encode("x")[0]) == "" and detokenizer.finish() == ""


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_joined_it_is_what_the_decoder_writes_for_any_ids(
    chatml: Tokenizer, spaced: Tokenizer, data: st.DataObject
) -> None:
    """Any ids at all: broken UTF-8, special tokens in between, ids that do not exist."""
    for tokenizer in (chatml, spaced):
        ids = data.draw(st.lists(st.integers(0, tokenizer.num_tokens + 5), max_size=25))
        assert "".join(stream(tokenizer, ids)[0]) == tokenizer.decode(ids)
        bytes_only = [tokenizer.encode(character)[-1] for character in data.draw(TEXTS)]
        assert "".join(stream(tokenizer, bytes_only)[0]) == tokenizer.decode(bytes_only)


@given(TEXTS, st.lists(st.text(st.sampled_from("ab \n你😀<"), min_size=1, max_size=4), max_size=3))
@settings(max_examples=150, deadline=None)
def test_the_stop_string_that_is_complete_first_cuts(chatml: Tokenizer, text: str, stop: list[str]) -> None:
    ids = [index for character in text for index in chatml.encode(character)]
    whole = chatml.decode(ids)
    beginnings = [whole[:length] for length in range(len(whole) + 1)]
    ends = [[begun.find(each) for each in stop if each in begun] for begun in beginnings]
    end = next((min(found) for found in ends if found), None)
    for some_ids in (ids, chatml.encode(whole)):
        pieces, stopped = stream(chatml, some_ids, *stop)
        if chatml.decode(some_ids) == whole:
            assert "".join(pieces) == whole[:end]
            assert stopped == (end is not None)
