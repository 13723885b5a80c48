from __future__ import annotations

import pytest

from data.steps.treated import changed


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("“Don’t” – he said … wait!!!!!!", '"Don\'t" – he said ... wait!!!'),
        ("non\u2011breaking, well.....", "non-breaking, well..."),
        ("你好,世界!!!!! 真的?是的...", "你好，世界!!! 真的？是的……"),
        ("他说“好”。。。。版本 3.5, ok", "他说“好”……版本 3.5, ok"),
        ("等等……", "等等……"),
        ("−5 — 3–4 !!", "−5 — 3–4 !!"),
        ("`“x”` “y”", '`“x”` "y"'),
    ],
)
def test_each_script_has_its_custom(text: str, after: str) -> None:
    assert changed("punctuation", text) == after
