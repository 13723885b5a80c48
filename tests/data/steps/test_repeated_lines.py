from __future__ import annotations

import pytest

from data.steps.treated import changed

LONG = "Subscribe to the newsletter of our little shop"


def test_a_long_line_stands_twice_at_most() -> None:
    text = f"{LONG}\nTea is hot.\n{LONG}\nTea is wet.\n{LONG}\n\nTea is green.\n{LONG}"
    assert changed("repeated_lines", text) == f"{LONG}\nTea is hot.\n{LONG}\nTea is wet.\n\nTea is green."
    assert changed("repeated_lines", text, times=1) == f"{LONG}\nTea is hot.\nTea is wet.\n\nTea is green."


def test_a_refrain_a_table_and_code_stay() -> None:
    for line in ("Row, row, row your boat", f"| {LONG} |", f"    {LONG}", "啊，我的太阳"):
        assert changed("repeated_lines", "\n".join(["x", *[line] * 5])) == "\n".join(["x", *[line] * 5])
    fenced = f"```\n{LONG}\n{LONG}\n{LONG}\n\n\n\n© 2024 x\n```"
    assert changed("repeated_lines", fenced) == fenced


@pytest.mark.parametrize(
    "line",
    [
        *("We use cookies to improve your experience.", "Accept all cookies", "Copyright © 2019-2024 Tea Ltd."),
        *("Skip to main content", "Home > Tea > Green", "Privacy Policy | Terms of Use", "版权所有 © 茶叶公司"),
        *("京ICP备12345678号", "上一篇：红茶", "责任编辑：张三", "首页 > 新闻 > 正文", "All rights reserved."),
    ],
)
def test_boilerplate_lines_go(line: str) -> None:
    assert changed("repeated_lines", f"Tea is hot.\n{line}\nTea is wet.") == "Tea is hot.\nTea is wet."
    assert line in changed("repeated_lines", f"Tea is hot.\n{line}", boilerplate=False)


@pytest.mark.parametrize(
    "line",
    [
        *("How do we use cookies in this framework?", "The copyright © sign is U+00A9.", "Home is where tea is."),
        *("版权所有者可以授权他人使用。请先联系。" * 5, "编辑文件后保存。", "Our shop is at home in Leeds."),
    ],
)
def test_sentences_about_them_stay(line: str) -> None:
    assert changed("repeated_lines", f"a\n{line}") == f"a\n{line}"
