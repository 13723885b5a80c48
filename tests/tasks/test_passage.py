from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.pre_tokenizers import ByteLevel

from setsail.tasks.passage import example
from setsail.tasks.task import Dropped
from setsail.tokens.tokenizer import Tokenizer
from setsail.tokens.train import train_tokenizer
from tasks.rows import ToyRow, shown


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder: Path = tmp_path_factory.mktemp("encoder")
    return train_tokenizer(
        ["ab 你"], folder, vocabulary=260, context=64, pre_tokenizer=ByteLevel(add_prefix_space=False), kind="encoder"
    )


def test_the_marks_around_a_text_are_never_learned(encoder: Tokenizer) -> None:
    made = example(ToyRow("r", text="a b"), encoder, 99, "drop")
    assert isinstance(made, tuple)
    assert shown(made[0], encoder) == "[CLS]⟦a b⟧[SEP]"


def test_a_mark_that_stands_in_a_text_is_text(encoder: Tokenizer) -> None:
    made = example(ToyRow("r", text="a [MASK] [SEP]"), encoder, 99, "drop")
    assert isinstance(made, tuple)
    assert encoder.mask_id not in made[0].ids
    assert shown(made[0], encoder) == "[CLS]⟦a [MASK] [SEP]⟧[SEP]"


def test_what_is_empty_or_overlong_is_dropped_with_a_reason(encoder: Tokenizer) -> None:
    assert example(ToyRow("r"), encoder, 99, "drop") == Dropped("unusable", "the text is empty")
    made = example(ToyRow("r", text="aaaaa"), encoder, 6, "drop")
    assert isinstance(made, Dropped) and made.detail == "5 tokens, the context has room for 4"
    cut = example(ToyRow("r", text="aaaab"), encoder, 6, "cut")
    assert isinstance(cut, tuple) and shown(cut[0], encoder) == "[CLS]⟦aaaa⟧[SEP]" and cut[0].change == "cut"


@given(st.text(st.sampled_from("ab 你\n"), min_size=1, max_size=60), st.integers(3, 20))
@settings(max_examples=150, deadline=None)
def test_parts_hold_each_token_exactly_once(encoder: Tokenizer, text: str, context: int) -> None:
    parts = example(ToyRow("r", text=text), encoder, context, "split")
    assert isinstance(parts, tuple)
    assert all(len(part.ids) <= context for part in parts)
    assert [token for part in parts for token in part.ids[part.loss_mask].tolist()] == encoder.encode(text)
    assert all(part.change == ("split" if len(parts) > 1 else "") for part in parts)
