from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers.pre_tokenizers import ByteLevel
from transformers import AutoTokenizer

from setsail.base.errors import DataError
from setsail.tokens.tokenizer import TOKENIZER_FILE, Tokenizer
from setsail.tokens.train import END_OF_TEXT, MARKS, train_tokenizer

TEXTS = [
    "Once upon a time there was a princess who lived beside the sea.",
    "床前明月光，疑是地上霜。举头望明月，低头思故乡。",
    "The fisherman went to the sea and the sea was grey and the wind was high.",
    "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。",
]


def trained(folder: Path, vocabulary: int = 330) -> Tokenizer:
    pre_tokenizer = ByteLevel(add_prefix_space=False)
    return train_tokenizer(TEXTS, folder, vocabulary=vocabulary, context=128, pre_tokenizer=pre_tokenizer)


def test_texts_of_two_languages_and_any_bytes_come_back(tmp_path: Path) -> None:
    made = trained(tmp_path)
    assert made.num_tokens == 330
    for text in (*TEXTS, "unseen: Ünïcödé 🙂\n\t\x00"):
        assert made.decode(made.encode(text)) == text
    assert len(made.encode(TEXTS[2])) < len(TEXTS[2].encode()) / 1.5


def test_the_end_of_a_text_is_one_special_token(tmp_path: Path) -> None:
    made = trained(tmp_path)
    assert made.eos_id == made.token_id(END_OF_TEXT) == 0
    assert made.encode(f"sea{END_OF_TEXT}")[-1] == 0
    assert set(made.special_tokens) == set(MARKS["decoder"].tokens)


def test_transformers_reads_it_the_same(tmp_path: Path) -> None:
    made, theirs = trained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    for text in TEXTS:
        assert theirs(text, add_special_tokens=False)["input_ids"] == made.encode(text)
    assert theirs.eos_token == END_OF_TEXT


def test_the_same_texts_give_the_same_tokenizer(tmp_path: Path) -> None:
    files = [trained(tmp_path / name).folder / TOKENIZER_FILE for name in ("one", "two")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_more_words_than_the_texts_hold_are_refused_with_the_number_that_there_is(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"hold only \d+ different pieces, a vocabulary of 5,000"):
        trained(tmp_path, 5000)
    with pytest.raises(DataError, match="cannot hold the 259 bytes"):
        trained(tmp_path, 100)


def made_for(kind: str, folder: Path) -> Tokenizer:
    pre_tokenizer = ByteLevel(add_prefix_space=False)
    return train_tokenizer(TEXTS, folder, vocabulary=380, context=128, pre_tokenizer=pre_tokenizer, kind=kind)


@pytest.mark.parametrize(("kind", "begins", "ends"), [("encoder", ["[CLS]"], ["[SEP]"]), ("seq2seq", [], ["</s>"])])
def test_marks_stand_around_a_text_for_us_and_for_transformers(
    kind: str, begins: list[str], ends: list[str], tmp_path: Path
) -> None:
    made, theirs = made_for(kind, tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert [made.token(index) for index in made.text_start_ids] == begins
    assert [made.token(index) for index in made.text_end_ids] == ends
    for text in TEXTS:
        assert theirs(text)["input_ids"] == [*made.text_start_ids, *made.encode(text), *made.text_end_ids]
    pair = theirs("a", "b")["input_ids"]
    assert [theirs.decode([index]) for index in pair] == [*begins, "a", *ends, "b", *ends]
    assert theirs.pad_token_id == 0 and theirs.model_max_length == 128


def test_a_mask_stands_for_a_word_with_the_space_before_it(tmp_path: Path) -> None:
    made, theirs = made_for("encoder", tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    whole, masked = made.encode("beside the sea."), made.encode("beside the [MASK].")
    assert masked == [made.mask_id if index == made.encode(" sea")[0] else index for index in whole]
    assert theirs("beside the [MASK].", add_special_tokens=False)["input_ids"] == masked
    assert theirs.mask_token_id == made.mask_id


def test_sentinels_are_in_order(tmp_path: Path) -> None:
    made, theirs = made_for("seq2seq", tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert len(made.sentinel_ids) == 100 and len(set(made.sentinel_ids)) == 100
    assert [made.token(index) for index in made.sentinel_ids[:2]] == ["<extra_id_0>", "<extra_id_1>"]
    assert theirs("a<extra_id_0>b", add_special_tokens=False)["input_ids"][1] == made.sentinel_ids[0]
    assert theirs.decode(made.sentinel_ids[:1], skip_special_tokens=True) == ""
    assert theirs.eos_token_id == made.eos_id


def test_a_tokenizer_of_bytes_knows_how_many_each_token_stands_for(tmp_path: Path) -> None:
    made = made_for("encoder", tmp_path)
    for text in (*TEXTS, "Ünïcödé 🙂"):
        assert made.token_sizes[made.encode(text)].sum() == len(text.encode())
    assert made.token_sizes[made.mask_id] == 0
