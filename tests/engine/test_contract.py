from __future__ import annotations

import math

import pytest

from setsail.base.errors import UserError
from setsail.engine.contract import GenerationRequest, fit_to_context


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt_ids", ()),
        ("max_tokens", 0),
        ("temperature", -1.0),
        ("temperature", math.nan),
        ("temperature", 1e308),
        ("top_p", 0.0),
        ("top_p", 1.5),
        ("seed", -1),
        ("seed", 2**32),
        ("num_logprobs", -1),
    ],
)
def test_a_value_out_of_range_is_refused_with_the_value(field: str, value: object) -> None:
    fields: dict[str, object] = {"prompt_ids": (1,), "max_tokens": 1, field: value}
    with pytest.raises(UserError) as caught:
        GenerationRequest(**fields)  # pyright: ignore[reportArgumentType]
    assert caught.value.hint


def test_an_answer_is_cut_to_the_room_after_the_prompt() -> None:
    assert fit_to_context(GenerationRequest((1,) * 6, 100), 10).max_tokens == 4
    assert fit_to_context(GenerationRequest((1,) * 6, 3), 10).max_tokens == 3


@pytest.mark.parametrize("num_prompt", [10, 11, 1000])
def test_a_prompt_that_fills_the_context_is_refused(num_prompt: int) -> None:
    with pytest.raises(UserError, match=f"the prompt has {num_prompt} tokens and the context holds 10"):
        fit_to_context(GenerationRequest((1,) * num_prompt, 1), 10)


@pytest.mark.parametrize("stranger", [-1, 320, 10**12])
def test_an_id_outside_the_vocabulary_is_refused(stranger: int) -> None:
    with pytest.raises(UserError, match=str(stranger)):
        fit_to_context(GenerationRequest((1, stranger), 1), 10, num_tokens=320)
