from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from models import toy_encoder

from setsail.tasks.classify import READING, TASK, label_order
from setsail.tasks.reading import Frame
from setsail.tasks.registry import find_task
from setsail.tasks.task import Dropped
from setsail.tokens.pack import Example
from setsail.tokens.tokenizer import Tokenizer, load

from .rows import ToyRow


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return load(toy_encoder.write_folder(tmp_path_factory.mktemp("encoder")))


def row(text: str) -> ToyRow:
    return ToyRow("r1", text=text, label="delivery")


def made(tokenizer: Tokenizer, text: str, *, context: int = 64, overlong="drop") -> Example:
    (example,) = TASK.example(row(text), tokenizer, context, overlong)
    return example


def test_it_is_found_by_its_name() -> None:
    assert find_task("classify") is TASK


def test_a_text_stands_between_the_tokenizers_own_marks_and_no_token_is_supervised(tokenizer: Tokenizer) -> None:
    example = made(tokenizer, "the parcel came late")
    assert tokenizer.decode(example.ids, skip_special=False) == "[CLS] the parcel came late [SEP]"
    assert example.label == "delivery" and not example.loss_mask.any() and example.num_supervised == 0


def test_chinese_is_read_character_by_character(tokenizer: Tokenizer) -> None:
    assert len(made(tokenizer, "快递坏了！").ids) == 2 + 5


def test_a_long_text_is_dropped_with_its_length(tokenizer: Tokenizer) -> None:
    dropped = TASK.example(row("help " * 30), tokenizer, 16, "drop")
    assert dropped == Dropped("overlong", "32 tokens, the context has 16")


def test_a_long_text_is_cut_before_its_last_mark(tokenizer: Tokenizer) -> None:
    example = made(tokenizer, "parcel " * 20 + "invoice " * 20, context=16, overlong="cut")
    assert len(example.ids) == 16 and example.change == "cut"
    words = tokenizer.decode(example.ids, skip_special=False).split()
    assert words == ["[CLS]", *["parcel"] * 14, "[SEP]"]


def test_labels_are_told_by_their_place_in_the_frame(tokenizer: Tokenizer) -> None:
    examples = [made(tokenizer, "help"), made(tokenizer, "the invoice is wrong")]
    assert READING.targets(examples, Frame(("billing", "delivery"))).tolist() == [1, 1]


def said(logits: list[float], labels: tuple[str, ...], tokenizer: Tokenizer) -> dict[str, Any]:
    return dict(READING.say(np.array(logits), tokenizer.read("help"), Frame(labels), ("help",)))


def test_a_prediction_is_the_likeliest_label_with_all_probabilities(tokenizer: Tokenizer) -> None:
    found = said(np.log([0.2, 0.7, 0.1]).tolist(), ("a", "b", "c"), tokenizer)
    assert found["label"] == "b" and found["probability"] == pytest.approx(0.7)
    assert found["probabilities"] == pytest.approx({"a": 0.2, "b": 0.7, "c": 0.1})
    assert said([1e4, 0.0], ("a", "b"), tokenizer)["probability"] == 1.0


@pytest.mark.parametrize(
    ("labels", "expected"),
    [(["10", "9", "-1"], ("-1", "9", "10")), (["b", "a", "a"], ("a", "b")), (["退款", "发票"], ("发票", "退款"))],
)
def test_labels_have_one_order_whatever_the_order_of_rows(labels: list[str], expected: tuple[str, ...]) -> None:
    assert label_order(labels) == label_order(labels[::-1]) == expected
