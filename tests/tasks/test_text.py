from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from setsail.tasks.task import Dropped
from setsail.tasks.text import TASK
from setsail.tokens.pack import make_batch
from setsail.tokens.tokenizer import Tokenizer
from tasks.rows import ToyRow, shown


def test_a_document_is_learned_whole_and_its_end_too(tokenizer: Tokenizer) -> None:
    made = TASK.example(ToyRow("r", text="The quick fox"), tokenizer, 99, "drop")
    assert isinstance(made, tuple)
    assert shown(made[0], tokenizer) == "⟦The quick fox<|im_end|>⟧"
    assert made[0].change == ""


def test_what_is_empty_or_overlong_is_dropped_with_a_reason(tokenizer: Tokenizer) -> None:
    assert TASK.example(ToyRow("r"), tokenizer, 99, "drop") == Dropped("unusable", "the text is empty")
    made = TASK.example(ToyRow("r", text="a b c d"), tokenizer, 4, "drop")
    assert isinstance(made, Dropped) and made.detail == "8 tokens, the context has 4"


def test_a_cut_document_does_not_learn_to_end_there(tokenizer: Tokenizer) -> None:
    made = TASK.example(ToyRow("r", text="a b c d"), tokenizer, 7, "cut")
    assert isinstance(made, tuple)
    assert shown(made[0], tokenizer) == "⟦a b c d⟧"
    assert made[0].change == "cut"


@given(st.text(st.sampled_from("ab 你\n"), min_size=1, max_size=60), st.integers(2, 20))
@settings(max_examples=150, deadline=None)
def test_windows_learn_each_token_exactly_once(tokenizer: Tokenizer, text: str, context: int) -> None:
    row = ToyRow("r", text=text)
    whole = TASK.example(row, tokenizer, 10_000, "drop")
    parts = TASK.example(row, tokenizer, context, "split")
    assert isinstance(whole, tuple) and isinstance(parts, tuple)
    assert all(len(part.ids) <= context and part.num_supervised for part in parts)
    targets = [int(target) for target in make_batch(parts).targets if target >= 0]
    assert targets == whole[0].ids[1:].tolist()
    assert sum(part.loss_mask.sum() for part in parts) == whole[0].loss_mask.sum()
    assert all(part.change == ("split" if len(whole[0].ids) > context else "") for part in parts)


@pytest.mark.parametrize(
    ("text", "first", "second"),
    [
        ("The quick brown fox", "The quick", " brown fox"),
        ("启航启航", "启航", "启航"),
        ("a", "a", ""),
        ("word", "wo", "rd"),
        ("  lead", "  l", "ead"),
    ],
)
def test_a_document_is_parted_at_a_word(tokenizer: Tokenizer, text: str, first: str, second: str) -> None:
    row = ToyRow("r", text=text)
    assert tokenizer.decode(TASK.prompt(row, tokenizer)) == first
    assert TASK.reference(row) == second


def test_the_prompt_has_no_end(tokenizer: Tokenizer) -> None:
    assert np.all(np.array(TASK.prompt(ToyRow("r", text="The quick brown fox"), tokenizer)) != tokenizer.eos_id)
