from __future__ import annotations

import pytest

from data.steps.proses import CHINESE, ENGLISH
from data.steps.treated import judged


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("too short, and of the kind", "words 6 < 50"),
        ("the of " + "a b " * 40, "mean word length 1.0 < 3.0"),
        ("the of " + "incomprehensibilities " * 60, "mean word length 20.4 > 10.0"),
        (ENGLISH + " #tea" * 20, "symbols to words 0.16 > 0.1"),
        ("the of and " + "1234 " * 60, "words with a letter 0.05 < 0.8"),
        ("kettle stove water morning " * 20, "common words 0 < 2"),
        ("\n".join(f"- {line}" for line in ENGLISH.replace("\n", " ").split(". ")), "lines with a bullet"),
        (ENGLISH.replace(". ", "...\n"), "lines that end in …"),
    ],
)
def test_what_does_not_read_like_prose(text: str, detail: str) -> None:
    verdict = judged("gopher_quality", text)
    assert verdict and verdict.reason == "not_prose"
    assert verdict.detail.startswith(detail)


def test_prose_stays_and_chinese_is_not_judged() -> None:
    assert judged("gopher_quality", ENGLISH) is None
    assert judged("gopher_quality", CHINESE[:30]) is None
    assert judged("gopher_quality", "the tea and cake", min_words=3) is None
