"""HTML becomes text; code, other mark-up and talk about HTML do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.steps.treated import changed


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("<p>Tea &amp; <b>cake</b></p>", "Tea & cake"),
        ("Hello,<br>my order #12 is late.<br/>\nThanks", "Hello,\nmy order #12 is late.\nThanks"),
        ('<div>您好，<span style="color:red">快递</span>坏了</div><div>谢谢</div>', "您好，快递坏了\n谢谢"),
        ("<h1>Tea</h1>\n<ul>\n<li>hot</li>\n<li>sweet</li>\n</ul>\nEnd", "Tea\n\n- hot\n- sweet\n\nEnd"),
        ("<table><tr><td>1</td><td>2</td></tr><tr><td>3</td><td>4</td></tr></table>", "1 | 2\n3 | 4"),
        ("<p>Run <code>ls &lt;dir&gt;</code> now</p>", "Run `ls <dir>` now"),
        ("<p>So:</p><pre>if a &lt; b:\n    c  =  1\n</pre><p>ok</p>", "So:\n\n```\nif a < b:\n    c  =  1\n```\n\nok"),
        ("<script>if (a<b) {x = 1}</script><style>p {color: red}</style><p>Hi</p>", "Hi"),
        ("a<!-- <b>hidden</b> --> <i>c</i>", "a c"),
        ("<a href='https://x.org'>our page</a> and <img src=x alt=\"a cup\">", "our page and a cup"),
        ("<p class=MsoNormal>Word<o:p></o:p></p>", "Word"),
        ("<p>Hi</p><script>let a = `<b>x</b>`; fetch(`/y`)</script><p>you</p>", "Hi\n\nyou"),
        ("<p>unclosed <script> stays readable</p>", "unclosed  stays readable"),
    ],
)
def test_fragments_become_text(text: str, after: str) -> None:
    assert changed("html", text) == after


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("AT&amp;T &copy; 2024 &lt;3 &#8212; &#x4F60;", "AT&T © 2024 <3 — 你"),
        ("double &amp;amp; &amp;lt;3", "double & <3"),
        ("escaped too often: &" + "amp;" * 20 + "lt;3", "escaped too often: <3"),
        ("https://a.org/?a=1&amp;copy=2&lt=3", "https://a.org/?a=1&copy=2&lt=3"),
        ("&nosuch; &#0; & ; R&D;", "&nosuch; &#0; & ; R&D;"),
        ("write &lt;b&gt;bold&lt;/b&gt; for bold", "write `<b>`bold`</b>` for bold"),
    ],
)
def test_entities_are_characters_and_never_tags(text: str, after: str) -> None:
    assert changed("html", text) == after


@pytest.mark.parametrize(
    "text",
    [
        "if a < b and c > d then a <b> c",
        "A List<int>, a Map<String, List<A>> and std::vector<p> v",
        "Dear <NAME>, reply to <a@b.org> or <https://a.org>",
        "Reason inside <think>x < 3</think> and <b>answer</b>",
        'Use the <br> tag, the <p> element, <b> 标签 and "<i>"',
        "用“<b>”和“</b>”包起来",
        "In HTML, <b>bold</b> is written <b>like this</b>.",
        "HTML writes &lt; for <",
        "```html\n<p>Tea &amp; <b>cake</b></p>\n```",
        "Write `<b>bold</b>` and ``<i>`x`</i>`` here",
        "```xml\n<config><title>x</title></config>\n```",
        "<config>\n  <title>x</title>\n  <port>80</port>\n</config>",
        'Put this in the page:\n\n    <div class="x">hi</div>\n\nand reload.',
        'return <div className="x">{name}</div>;',
        "const page = `<p>${name}</p>`;",
        'html = "<p>%s</p>" % name\nprint(html)',
        '<?php echo "<b>hi</b>"; ?>',
        'text = text.replace("&amp;", "&")',
        "#include <map>\nstd::map<a, b> x; // <b>x</b>",
        "a <b unclosed and 3 > 2",
        "<b>",
    ],
)
def test_what_is_no_html_stays(text: str) -> None:
    assert changed("html", text) == text


def test_our_own_documents_and_code_come_through() -> None:
    root = Path(__file__).parents[3]
    paths = [*root.glob("*.md"), *(root / "docs").rglob("*.md"), *(root / "src").rglob("*.py")]
    assert len(paths) > 100
    for path in paths:
        text = path.read_text("utf-8")
        assert changed("html", text) == text, path


PAGE = """<!DOCTYPE html>
<html><head><title>Tea</title><style>p {}</style></head><body>
<nav><ul><li><a href="/">Home</a></li><li><a href="/a">About</a></li></ul></nav>
<main><h1>How to make tea</h1>
<p>Boil water &amp; wait until it is at 95 °C. Then pour it over the leaves, and wait three minutes more.</p>
<p>Call <code>&lt;b&gt;brew&lt;/b&gt;</code> for it.</p><pre>```
brew(a &lt; b)
```</pre></main><footer>Copyright 2024</footer></body></html>"""


def test_a_page_becomes_its_main_text_on_request_alone() -> None:
    assert changed("html", PAGE) == PAGE
    text = changed("html", PAGE, pages=True)
    assert text.startswith("How to make tea\n\nBoil water & wait until it is at 95 °C.")
    assert "Home" not in text and "Copyright" not in text and "p {}" not in text
    assert "`<b>`brew`</b>`" in text and text.endswith("````\n```\nbrew(a < b)\n```\n````")
    assert changed("html", text, pages=True) == text


def test_a_page_without_a_main_part_is_taken_whole() -> None:
    assert changed("html", "<html><body>短</body></html>", pages=True) == "短"


@pytest.mark.parametrize(
    "piece",
    ["<", "<b", "<b ", '<b "', "<!--", "<script>", "<br><style>", "&amp;", "&lt;b ", "&", "`", "<p>", "```\n", "<pre>"],
)
def test_mark_up_that_never_ends_takes_time_in_proportion(piece: str) -> None:
    # A quadratic search would take minutes over so many characters, and the suite would show it.
    text = piece * (400_000 // len(piece))
    assert len(changed("html", text)) <= len(text) + 8
