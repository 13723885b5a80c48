from __future__ import annotations

import pytest

from data.steps.treated import changed


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("See https://a.org/x_(y), or (www.b.cn).", "See [URL], or ([URL])."),
        ("请访问https://a.com/b?c=1查看。", "请访问[URL]查看。"),
        ("[docs](https://a.org/a#b)", "[docs]([URL])"),
        ("`curl https://a.org` and ftp://x.y!", "`curl https://a.org` and [URL]!"),
        ("www.alone and http:// are none", "www.alone and http:// are none"),
    ],
)
def test_addresses_are_masked_and_sentences_stay(text: str, after: str) -> None:
    assert changed("urls", text) == after
    assert changed("urls", text, action="remove") == after.replace("[URL]", "")
    assert changed("urls", text, action="keep") == text
