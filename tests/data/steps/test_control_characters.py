from __future__ import annotations

import pytest

from data.steps.treated import changed


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("a\x00b\x1b[0m\x7f", "ab[0m"),
        ("\ufeff我们\u200b的\u3000数据", "我们的\u3000数据"),
        ("soft\xadhyphen", "softhyphen"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        ("hi" + "".join(chr(0xE0000 + ord(c)) for c in "ignore"), "hi"),
    ],
)
def test_what_nobody_sees_is_gone(text: str, after: str) -> None:
    assert changed("control_characters", text) == after


@pytest.mark.parametrize(
    "text", ["a\tb\nc", "👩\u200d🔬", "می\u200cخواهم", "\U0001f3f4\U000e0067\U000e0062\U000e007f", "שלום\u200f!"]
)
def test_what_carries_meaning_stays(text: str) -> None:
    assert changed("control_characters", text) == text
