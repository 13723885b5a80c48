from __future__ import annotations

import pytest

from data.steps.proses import CHINESE, ENGLISH
from data.steps.treated import judged


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("太短了。", "Chinese characters 3 < 50"),
        (CHINESE + " 0123456789" * 60, "share of Chinese characters"),
        ("水壶炉子早晨客人" * 10, "share of punctuation 0.000 < 0.01"),
        ("水！壶！炉！" * 30, "share of punctuation 0.500 > 0.4"),
        ("水壶炉子，早晨客人。" * 10, "common characters 0 < 2"),
        (
            CHINESE.replace("\n", "").replace("，", "，\n").replace("。", "。\n").replace("的", "的\n"),
            "mean line length",
        ),
        ("\n".join(f"- {line}。" for line in CHINESE.replace("\n", "").split("。")), "lines with a bullet"),
        (CHINESE.replace("。", "……\n"), "lines that end in …"),
    ],
)
def test_what_does_not_read_like_prose(text: str, detail: str) -> None:
    verdict = judged("chinese_quality", text)
    assert verdict and verdict.reason == "not_prose"
    assert verdict.detail.startswith(detail)


def test_prose_stays_and_english_is_not_judged() -> None:
    assert judged("chinese_quality", CHINESE) is None
    assert judged("chinese_quality", ENGLISH[:30]) is None
