"""Pairs: which tokens are compared, where the second half begins, and what is left out."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from setsail.tasks.chat import TASK as CHAT
from setsail.tasks.preference import example, halves_of, make_batch, with_reference
from setsail.tasks.registry import find_example
from setsail.tasks.task import Dropped
from setsail.tokens.pack import NOT_SUPERVISED, Example
from setsail.tokens.tokenizer import Tokenizer

from .rows import ToyRow, chat_row, shown


def pair_row(*contents: str, rejected: str) -> ToyRow:
    row = chat_row(*contents)
    return ToyRow(row.id, (*row.messages, {"role": "rejected", "content": rejected}))


def pair_of(row: ToyRow, tokenizer: Tokenizer, context: int = 1000) -> Example:
    made = example(row, tokenizer, context, "drop")
    assert isinstance(made, tuple) and len(made) == 1
    return made[0]


def test_both_answers_are_marked_and_nothing_else(tokenizer: Tokenizer) -> None:
    pair = pair_of(pair_row("Hi", "Ho", "More", "Yes please", rejected="No"), tokenizer)
    asked = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHo<|im_end|>\n<|im_start|>user\nMore<|im_end|>\n"
    halves = [f"{asked}<|im_start|>assistant\n⟦{answer}<|im_end|>⟧" for answer in ("Yes please", "No")]
    assert shown(pair, tokenizer) == "".join(halves)
    assert [shown(half, tokenizer) for half in halves_of(pair)] == halves
    assert find_example("preference") is example


def test_the_chosen_half_is_what_chat_would_learn_last(tokenizer: Tokenizer) -> None:
    row = pair_row("Hi", "Hello there", rejected="No")
    (alone,) = CHAT.example(row, tokenizer, 1000, "drop")  # pyright: ignore[reportGeneralTypeIssues]
    chosen, _ = halves_of(pair_of(row, tokenizer))
    assert chosen.ids.tolist() == alone.ids.tolist() and chosen.loss_mask.tolist() == alone.loss_mask.tolist()


def test_a_pair_is_whole_or_left_out(tokenizer: Tokenizer) -> None:
    row = pair_row("Hi", "Ho", rejected="No " * 40)
    longest = max(len(half.ids) for half in halves_of(pair_of(row, tokenizer)))
    pair_of(row, tokenizer, longest)
    made = example(row, tokenizer, longest - 1, "drop")
    assert made == Dropped("overlong", f"{longest} tokens, the context has {longest - 1}")


def test_answers_that_cleaning_made_the_same_are_no_pair(tokenizer: Tokenizer) -> None:
    made = example(pair_row("Hi", "Ho", rejected=" Ho"), tokenizer, 1000, "drop")
    assert isinstance(made, Dropped) and made.reason == "same_answers"


@given(
    st.lists(
        st.tuples(*[st.text(st.sampled_from("ab 你\n"), min_size=1, max_size=9).filter(str.strip)] * 3), max_size=6
    )
)
@settings(max_examples=60, deadline=None)
def test_a_batch_holds_every_pair_whole_and_its_halves_apart(
    tokenizer: Tokenizer, words: list[tuple[str, str, str]]
) -> None:
    rows = [pair_row(asked, chosen, rejected=f"{rejected}x") for asked, chosen, rejected in words]
    pairs = [with_reference(pair_of(row, tokenizer), number / 3) for number, row in enumerate(rows)]
    if not pairs:
        return
    batch = make_batch(pairs)
    assert batch.num_supervised == len(pairs) and batch.reference_P.tolist() == [n / 3 for n in range(len(pairs))]
    assert batch.num_tokens == sum(len(pair.ids) for pair in pairs) == batch.document_starts[-1]
    halves = [half for pair in pairs for half in halves_of(pair)]
    bounds = zip(batch.document_starts[:-1], batch.document_starts[1:], halves, strict=True)
    for start, end, half in bounds:
        assert batch.input_ids[start:end].tolist() == half.ids.tolist()
        assert batch.positions[start:end].tolist() == list(range(len(half.ids)))
        assert int((batch.targets[start:end] != NOT_SUPERVISED).sum()) == int(half.loss_mask.sum())
        assert np.array_equal(batch.targets[start : end - 1][half.loss_mask[1:]], half.ids[1:][half.loss_mask[1:]])
