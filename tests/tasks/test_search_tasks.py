"""Pairs become examples and batches: where texts begin, what is no wrong answer, token types, and what is cut."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from models import toy_encoder
from transformers import AutoTokenizer

from setsail.tasks import embed, rank
from setsail.tasks.registry import find_task
from setsail.tasks.task import Dropped
from setsail.tokens.pack import Example
from setsail.tokens.tokenizer import Tokenizer, load


@dataclass(frozen=True)
class PairRow:
    messages: tuple[dict[str, str], ...]
    id: str = "r1"
    text: str = ""
    label: str = ""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_encoder.write_folder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Tokenizer:
    return load(folder)


def pair(*texts: str, label: str = "", id: str = "r1") -> PairRow:
    roles = ("query", "positive", *["negative"] * len(texts))
    return PairRow(
        tuple({"role": role, "content": text} for role, text in zip(roles, texts, strict=False)), id, "", label
    )


def made(task, row: PairRow, tokenizer: Tokenizer, *, context: int = 64, overlong="drop") -> Example:
    (example,) = task.example(row, tokenizer, context, overlong)
    return example


def test_both_tasks_are_found_by_their_names() -> None:
    assert find_task("embed") is embed.TASK and find_task("rank") is rank.TASK


def test_texts_are_found_again_in_an_example(tokenizer: Tokenizer) -> None:
    texts = ("late parcel", "the parcel came late", "invoice wrong")
    example = made(embed, pair(*texts), tokenizer)
    assert [ids.tolist() for ids in embed.texts_of(example)] == [tokenizer.encode_whole(text) for text in texts]
    shown = embed.to_show(example)
    assert shown.ids[shown.loss_mask].tolist() == tokenizer.encode_whole(texts[1])


def test_a_text_too_long_is_cut_or_drops_its_row(tokenizer: Tokenizer) -> None:
    row = pair("late parcel", "the parcel came late broken box")
    (cut,) = embed.example(row, tokenizer, 6, "cut")
    query, positive = embed.texts_of(cut)
    assert cut.change == "cut" and query.tolist() == tokenizer.encode_whole("late parcel") and len(positive) == 6
    assert positive[-1] == tokenizer.text_end_ids[-1]
    assert isinstance(embed.example(row, tokenizer, 6, "drop"), Dropped)


def batch_of(tokenizer: Tokenizer, *rows: PairRow) -> embed.PairBatch:
    return embed.make_batch([made(embed, row, tokenizer) for row in rows])


def test_what_answers_a_query_elsewhere_is_no_wrong_answer(tokenizer: Tokenizer) -> None:
    batch = batch_of(
        tokenizer,
        pair("late parcel", "the parcel came late"),
        pair("Late PARCEL", "broken box"),  # the same query to this tokenizer
        pair("invoice", "the parcel came late"),  # the same text for another query
        pair("login password", "late parcel", "invoice wrong"),  # a text that says what two of the queries say
    )
    assert batch.num_supervised == 4 and len(batch.candidates) == 5
    assert np.diff(batch.document_starts).sum() == batch.num_tokens == batch.document_starts[-1]
    expected = np.zeros((4, 5), bool)
    expected[0, [1, 2, 3]] = True  # its query's other answer, its own answer under another number, and itself
    expected[1, [0, 2, 3]] = True
    expected[2, 0] = True
    assert batch.hidden.tolist() == expected.tolist()
    assert [len(each) for each in embed.documents_of(batch)] == np.diff(batch.document_starts).tolist()


def test_scores_of_pairs_are_numbers(tokenizer: Tokenizer) -> None:
    batch = batch_of(tokenizer, pair("late", "box", label="2.5"), pair("sum", "app", label="0"))
    assert batch.scores is not None and batch.scores.tolist() == [2.5, 0.0]
    assert batch_of(tokenizer, pair("late", "box")).scores is None


@pytest.mark.parametrize("most", [None, 12, 7])
def test_a_pair_is_what_transformers_makes_of_it(folder: Path, tokenizer: Tokenizer, most: int | None) -> None:
    plain = AutoTokenizer.from_pretrained(folder)
    texts = ("late parcel refund", "the parcel came late broken box invoice wrong sum")
    options = {} if most is None else {"truncation": True, "max_length": most}
    theirs = plain(*texts, **options)
    plain.backend_tokenizer.no_truncation(), plain.backend_tokenizer.no_padding()
    ids, types = tokenizer.encode_pair(*texts, most=most)
    assert ids[: len(ids)] == [token for token in theirs["input_ids"] if token != plain.pad_token_id]
    assert len(types) == len(ids) and (most is None or len(ids) == most)


def test_a_pair_too_long_is_cut_or_dropped_and_keeps_its_types(tokenizer: Tokenizer) -> None:
    row = pair("late", "the parcel came late broken box", label="2")
    whole = made(rank, row, tokenizer)
    ids, types = tokenizer.encode_pair("late", "the parcel came late broken box")
    assert whole.ids.tolist() == ids and whole.loss_mask.tolist() == [bool(each) for each in types]
    (cut,) = rank.example(row, tokenizer, 7, "cut")
    assert cut.change == "cut" and len(cut.ids) == 7 and cut.label == "2"
    assert isinstance(rank.example(row, tokenizer, 7, "drop"), Dropped)
    assert not rank.to_show(whole).loss_mask.any()


def test_grades_lie_between_none_and_all(tokenizer: Tokenizer) -> None:
    rows = [pair("late", "box", label=label) for label in ("0", "1", "4")]
    scale = rank.grade_scale([row.label for row in rows])
    batch = rank.make_batch([made(rank, row, tokenizer) for row in rows], scale)
    assert batch.grades.tolist() == [0.0, 0.25, 1.0] and batch.num_supervised == 3
    assert len(batch.token_types) == batch.num_tokens
    assert rank.grade_scale(["3"]) == {"3": 0.0}
