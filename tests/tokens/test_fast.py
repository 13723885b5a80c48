from __future__ import annotations

import json
from functools import lru_cache
from types import SimpleNamespace

import fastokens
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend

from setsail.models.pre_tokenizers import PRE_TOKENIZERS
from setsail.tokens.fast import Fast, fast_encoder
from setsail.tokens.tokenizer import Tokenizer
from tokens import toy

WORDS = st.sampled_from(
    ["the ", "sea", " 月光", "，", "  ", "\n", "<|im_end|>", "<think>", "don't", "123", "😀", "é", "e\u0301"]
)
TEXT = st.lists(st.one_of(WORDS, st.text(max_size=4)), max_size=20).map("".join)


@lru_cache
def backend_of(name: str) -> Backend:
    described = json.loads(toy.byte_level())
    backend = Backend.from_str(json.dumps(described))
    backend.pre_tokenizer = PRE_TOKENIZERS[name]()
    return backend


@lru_cache
def encode_of(name: str) -> Fast:
    return fast_encoder(backend_of(name))


@pytest.mark.parametrize("name", PRE_TOKENIZERS)
@settings(deadline=None)
@given(text=TEXT)
def test_ids_are_those_of_the_library(name: str, text: str) -> None:
    found = encode_of(name)
    assert found.encode is not None, found.reason
    assert found.encode(text) == backend_of(name).encode(text, add_special_tokens=False).ids


def test_a_tokenizer_with_the_faster_way_is_the_same_one(chatml: Tokenizer) -> None:
    quick, reason = chatml.quickened()
    assert reason == "" and quick.fast is not None and chatml.fast is None
    text = "<|im_start|>user\nHello 月光<|im_end|>"
    assert quick.encode(text) == chatml.encode(text) and quick.encode("") == []


def test_what_cannot_be_read_is_left_to_the_library(spaced: Tokenizer) -> None:
    quick, reason = spaced.quickened()
    if quick.fast is None:
        assert reason
    assert quick.encode("hello there") == spaced.encode("hello there")


def test_an_encoder_that_differs_is_not_used(chatml: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    real = fastokens.Tokenizer

    class Wrong:
        @staticmethod
        def from_json_str(text: str) -> object:
            other = real.from_json_str(text)
            return SimpleNamespace(encode=lambda text: SimpleNamespace(ids=other.encode(text.replace("月", "日")).ids))

    monkeypatch.setattr(fastokens, "Tokenizer", Wrong)
    quick, reason = chatml.quickened()
    assert quick.fast is None and "otherwise than the tokenizers library" in reason
