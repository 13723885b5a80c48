from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from setsail.base.errors import DataError, ModelError
from setsail.tasks.chat import TASK
from setsail.tasks.task import Dropped
from setsail.tokens.pack import Example
from setsail.tokens.tokenizer import Tokenizer
from tasks.rows import ToyRow, chat_row, shown

REASONING = (
    "{% for m in messages %}{% set text = m.content %}{% if m.role == 'assistant' and not loop.last %}"
    "{% set text = text.split('</think>')[-1] %}{% endif %}"
    "{{ '<|im_start|>' + m.role + '\n' + text + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def examples(row: ToyRow, tokenizer: Tokenizer, context: int = 1000, overlong: str = "drop") -> tuple[Example, ...]:
    made = TASK.example(row, tokenizer, context, overlong)  # pyright: ignore[reportArgumentType]
    assert not isinstance(made, Dropped), made
    return made


def test_a_conversation_is_one_example_that_ends_with_its_last_answer(tokenizer: Tokenizer) -> None:
    (example,) = examples(chat_row("Hi", "Ho", "More", "No", "And?"), tokenizer)
    assert shown(example, tokenizer) == (
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n⟦Ho<|im_end|>⟧\n"
        "<|im_start|>user\nMore<|im_end|>\n<|im_start|>assistant\n⟦No<|im_end|>⟧"
    )
    assert (example.row_id, example.change, example.ids.dtype) == ("r1", "", np.int32)


def test_the_prompt_is_the_beginning_of_the_example(tokenizer: Tokenizer) -> None:
    row = chat_row("Hi", "Ho", "More", "No", "And?", system="Be kind")
    (example,) = examples(row, tokenizer)
    prompt = TASK.prompt(row, tokenizer)
    assert example.ids[: len(prompt)].tolist() == prompt
    assert example.loss_mask[len(prompt) :].all()
    assert TASK.reference(row) == "No"


def test_what_is_unusable_is_dropped_with_a_reason(tokenizer: Tokenizer) -> None:
    assert TASK.example(chat_row("Hi"), tokenizer, 99, "drop") == Dropped(
        "unusable", "the conversation has no assistant message"
    )
    empty = TASK.example(chat_row("Hi", ""), tokenizer, 99, "drop")
    assert empty == Dropped("unusable", "message 2, an assistant's, is empty")
    with pytest.raises(DataError):
        TASK.reference(chat_row("Hi"))


def test_a_template_at_fault_is_not_a_row_at_fault(tokenizer: Tokenizer) -> None:
    with pytest.raises(ModelError):
        TASK.example(chat_row("Hi", "Ho"), tokenizer.with_template("x"), 99, "drop")


def test_an_overlong_row_is_dropped_with_its_length(tokenizer: Tokenizer) -> None:
    row = chat_row("Hi", "Ho")
    (example,) = examples(row, tokenizer)
    num_tokens = len(example.ids)
    assert len(examples(row, tokenizer, num_tokens)) == 1
    made = TASK.example(row, tokenizer, num_tokens - 1, "drop")
    assert made == Dropped("overlong", f"{num_tokens} tokens, the context has {num_tokens - 1}")


def test_a_cut_row_keeps_its_beginning_and_does_not_learn_to_stop_there(tokenizer: Tokenizer) -> None:
    row = chat_row("Hi", "Ho", "More", "No no no no no")
    (whole,) = examples(row, tokenizer)
    (cut,) = examples(row, tokenizer, len(whole.ids) - 1, "cut")
    assert cut.change == "cut"
    assert cut.ids.tolist() == whole.ids[:-1].tolist()
    assert shown(cut, tokenizer).endswith("assistant\n⟦No no no no no⟧")
    assert "⟦Ho<|im_end|>⟧" in shown(cut, tokenizer)


def test_a_cut_that_leaves_nothing_of_an_answer_is_a_drop(tokenizer: Tokenizer) -> None:
    row = chat_row("A long question " * 20, "Ho")
    made = TASK.example(row, tokenizer, 40, "cut")
    assert made == Dropped("overlong", "the first 40 tokens hold nothing of an answer")
    fits = TASK.example(chat_row("Hi", "Ho"), tokenizer, 40, "cut")
    assert isinstance(fits, tuple) and fits[0].change == ""


def test_a_split_row_becomes_whole_exchanges_each_with_the_system_prompt(tokenizer: Tokenizer) -> None:
    row = chat_row(*(word for number in range(5) for word in (f"Q{number}", f"A{number}")), system="S")
    (whole,) = examples(row, tokenizer)
    parts = examples(row, tokenizer, len(whole.ids) * 3 // 4, "split")
    assert len(parts) == 2
    assert all(shown(part, tokenizer).startswith("<|im_start|>system\nS<|im_end|>") for part in parts)
    assert [part.change for part in parts] == ["split"] * 2
    text = "".join(shown(part, tokenizer) for part in parts)
    assert [text.count(f"⟦A{number}<|im_end|>⟧") for number in range(5)] == [1] * 5
    assert [text.count(f"Q{number}") for number in range(5)] == [1] * 5


def test_an_exchange_that_does_not_fit_alone_drops_the_row(tokenizer: Tokenizer) -> None:
    made = TASK.example(chat_row("Hi", "Ho", "More", "No " * 200), tokenizer, 60, "split")
    assert made == Dropped("overlong", "exchange 2 alone does not fit the context of 60 tokens")


def test_an_answer_that_a_template_rewrites_later_is_learned_as_it_is_served(tokenizer: Tokenizer) -> None:
    row = chat_row("Hi", "<think>a</think>Ho", "More", "<think>b</think>No")
    made = examples(row, tokenizer.with_template(REASONING))
    assert [shown(example, tokenizer) for example in made] == [
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n⟦<think>a</think>Ho<|im_end|>⟧",
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHo<|im_end|>\n"
        "<|im_start|>user\nMore<|im_end|>\n<|im_start|>assistant\n⟦<think>b</think>No<|im_end|>⟧",
    ]


def test_no_answer_is_learned_twice(tokenizer: Tokenizer) -> None:
    row = chat_row("Hi", "Ho", "More", "<think>b</think>No", "And?", "End")
    made = examples(row, tokenizer.with_template(REASONING))
    text = "".join(shown(example, tokenizer) for example in made)
    assert [text.count(f"⟦{answer}<|im_end|>⟧") for answer in ("Ho", "<think>b</think>No", "No", "End")] == [1, 1, 0, 1]


@given(
    st.lists(st.text(st.sampled_from("ab 你\n"), min_size=1, max_size=12).filter(str.strip), min_size=2, max_size=12)
)
@settings(max_examples=80, deadline=None)
@pytest.mark.parametrize("overlong", ["drop", "split", "cut"])
def test_nothing_is_longer_than_the_context_and_nothing_lost_in_silence(
    tokenizer: Tokenizer, overlong: str, contents: list[str]
) -> None:
    row = chat_row(*contents)
    made = TASK.example(row, tokenizer, 48, overlong)  # pyright: ignore[reportArgumentType]
    if isinstance(made, Dropped):
        assert made.reason == "overlong" and made.detail
        return
    whole = examples(row, tokenizer)
    assert all(len(example.ids) <= 48 and example.num_supervised for example in made)
    changed = any(example.change for example in made)
    learned, all_learned = (sum(example.num_supervised for example in each) for each in (made, whole))
    assert changed == (len(whole[0].ids) > 48)
    assert learned == all_learned if overlong == "split" else learned <= all_learned
