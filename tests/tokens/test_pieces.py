from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from setsail.base.errors import DataError
from setsail.tokens.pieces import piece_marks, train_unigram, train_wordpiece
from setsail.tokens.tokenizer import Tokenizer
from setsail.tokens.train import write_tokenizer

TEXTS = [
    "The fisherman went to the sea and the sea was grey and the wind was high.",
    "床前明月光，疑是地上霜。举头望明月，低头思故乡。",
    "A princess lived beside the sea; the fisherman's wife did not.",
] * 5


@pytest.fixture(scope="module")
def unigram(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    marks = piece_marks("unigram")
    backend = train_unigram(TEXTS, marks, vocabulary=350)
    return write_tokenizer(backend, marks, tmp_path_factory.mktemp("unigram"), context=128)


@pytest.fixture(scope="module")
def wordpiece(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    marks = piece_marks("wordpiece")
    backend = train_wordpiece(TEXTS, marks, vocabulary=150)
    return write_tokenizer(backend, marks, tmp_path_factory.mktemp("wordpiece"), context=128)


@settings(deadline=None)
@given(text=st.text(max_size=30).filter(lambda text: "▁" not in text))
def test_unigram_gives_every_text_back_and_knows_no_unknown(unigram: Tokenizer, text: str) -> None:
    if any(mark in text for mark in unigram.special_tokens):
        return
    ids = unigram.encode(text)
    assert unigram.decode(ids) == text
    assert unigram.token_id("<unk>") not in ids


def test_unigram_learns_words_and_has_its_size(unigram: Tokenizer) -> None:
    assert unigram.num_tokens <= 350
    assert len(unigram.encode(TEXTS[0])) < len(TEXTS[0])


def test_chinese_characters_stand_apart_in_wordpiece(wordpiece: Tokenizer) -> None:
    assert [wordpiece.token(index) for index in wordpiece.encode("明月光")] == ["明", "月", "光"]
    assert wordpiece.named["unk_token"] == "[UNK]"
    assert [wordpiece.token(index) for index in wordpiece.encode_whole("龘")] == ["[CLS]", "[UNK]", "[SEP]"]


@pytest.mark.parametrize("kind", ["unigram", "wordpiece"])
def test_transformers_reads_it_the_same(kind: str, request: pytest.FixtureRequest) -> None:
    made: Tokenizer = request.getfixturevalue(kind)
    theirs = AutoTokenizer.from_pretrained(made.folder)
    for text in TEXTS[:3]:
        assert theirs(text, add_special_tokens=False)["input_ids"] == made.encode(text)


def test_a_vocabulary_smaller_than_the_alphabet_is_refused() -> None:
    with pytest.raises(DataError, match="cannot hold the characters of the texts"):
        train_wordpiece(TEXTS, piece_marks("wordpiece"), vocabulary=20)
    with pytest.raises(DataError, match="cannot hold the bytes"):
        train_unigram(TEXTS, piece_marks("unigram"), vocabulary=200)


def test_a_special_token_named_twice_is_refused() -> None:
    with pytest.raises(DataError, match='special token "<s>" stands there twice'):
        piece_marks("unigram", ("<s>",))
