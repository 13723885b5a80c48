from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from setsail.base.errors import DataError, ModelError
from setsail.tokens.extend import Extended, extend, pieces_of
from setsail.tokens.tokenizer import Tokenizer
from tokens import toy

DOMAIN = ["The thrombosis of the patient: thrombocytopenia, 血小板减少症。", "患者血小板减少症复查"] * 10


@pytest.fixture(scope="module")
def extended(templated, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tokenizer, Extended]:
    old = templated("chatml")
    return old, extend(old, DOMAIN, tmp_path_factory.mktemp("extended"), add=40)


def test_new_tokens_are_behind_the_old_ones_and_shorten_the_domain(extended: tuple[Tokenizer, Extended]) -> None:
    old, (new, pieces) = extended[0], (extended[1].tokenizer, extended[1].pieces)
    assert sorted(pieces) == list(range(old.num_ids, old.num_ids + 40))
    assert new.num_ids == old.num_ids + 40
    for text in DOMAIN[:2]:
        assert len(new.encode(text)) < 0.6 * len(old.encode(text))
        assert new.decode(new.encode(text)) == text


def test_a_new_token_stands_for_what_the_text_was_before(extended: tuple[Tokenizer, Extended]) -> None:
    old, (new, pieces) = extended[0], (extended[1].tokenizer, extended[1].pieces)
    for text in DOMAIN[:2]:
        again = [piece for index in new.encode(text) for piece in pieces.get(index, (index,))]
        assert again == old.encode(text)


def test_a_text_without_new_tokens_is_as_it_was(extended: tuple[Tokenizer, Extended]) -> None:
    old, new = extended[0], extended[1].tokenizer
    for text in (*toy.CORPUS[:3], "<|im_start|>user\n1 + 1<|im_end|>"):
        assert new.encode(text) == old.encode(text)
    assert (new.template, new.named, new.special_tokens) == (old.template, old.named, old.special_tokens)


def test_transformers_reads_it_the_same(extended: tuple[Tokenizer, Extended]) -> None:
    new = extended[1].tokenizer
    theirs = AutoTokenizer.from_pretrained(new.folder)
    for text in DOMAIN[:2]:
        assert theirs(text, add_special_tokens=False)["input_ids"] == new.encode(text)


def test_a_special_token_is_never_made_by_merging(templated, tmp_path: Path) -> None:
    old = templated("chatml")
    new = extend(old, ["im_end im_end|> <|im_end|>"] * 50, tmp_path, add=40).tokenizer
    merges = json.loads(new.backend.to_str())["model"]["merges"]
    assert not {"".join(merge) for merge in merges} & set(new.special_tokens)


def test_other_kinds_and_empty_texts_are_refused(spaced: Tokenizer, chatml: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="merges cannot be added"):
        extend(spaced, DOMAIN, tmp_path, add=5)
    with pytest.raises(DataError, match="nothing in the texts stands often enough"):
        extend(chatml, ["x"], tmp_path, add=5)


def test_pieces_are_old_tokens_only() -> None:
    assert pieces_of([(1, 2, 10), (10, 3, 11), (4, 5, 6), (11, 10, 12)], 10) == {
        10: (1, 2),
        11: (1, 2, 3),
        12: (1, 2, 3, 1, 2),
    }
