from __future__ import annotations

import pytest

from data.steps.treated import judged


@pytest.mark.parametrize(
    ("text", "options", "detail"),
    [
        ("abc", {"min_characters": 4}, "3 characters < 4"),
        ("abc", {"max_characters": 2}, "3 characters > 2"),
        ("two words", {"min_words": 3}, "2 words < 3"),
        ("我们的数据", {"max_words": 4}, "5 words > 4"),
    ],
)
def test_out_of_bounds(text: str, options: dict[str, int], detail: str) -> None:
    verdict = judged("length", text, **options)
    assert verdict and verdict.detail == detail and verdict.reason in ("too_short", "too_long")


def test_bounds_themselves_stay() -> None:
    assert judged("length", "我 is 2", min_words=3, max_words=3, min_characters=6, max_characters=6) is None
