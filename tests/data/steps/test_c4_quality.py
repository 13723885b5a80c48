from __future__ import annotations

import pytest

from data.steps.proses import CHINESE, ENGLISH
from data.steps.treated import judged


@pytest.mark.parametrize("text", [" ".join(ENGLISH.split()), CHINESE])
def test_prose_stays(text: str) -> None:
    assert judged("c4_quality", text) is None


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("One is here. Two is there. Three it is. Four we have.", "sentences 4 < 5"),
        ("Tea\nCake\nMilk and sugar\n" * 9, "sentences 0 < 5"),
        ("Please enable JavaScript to see this page.\n" * 9, "sentences 0 < 5"),
        ("Read our privacy policy before you go on.\n" * 9, "sentences 0 < 5"),
        ("我们使用cookie来改进网站。\n" * 9, "sentences 0 < 5"),
        ("Too short.\n" * 9, "sentences 0 < 5"),
        ("And then it went on...\n" * 9, "sentences 0 < 5"),
        (ENGLISH + " Lorem Ipsum dolor.", 'holds "lorem ipsum"'),
        (ENGLISH + " { }", 'holds "{"'),
    ],
)
def test_pages_without_sentences(text: str, detail: str) -> None:
    verdict = judged("c4_quality", text)
    assert verdict and verdict.reason == "not_a_page" and verdict.detail == detail


def test_code_is_allowed_where_it_is_wanted() -> None:
    assert judged("c4_quality", " ".join(ENGLISH.split()) + "\n{ }", curly_brackets=True) is None
