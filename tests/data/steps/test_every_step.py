"""What holds of every step: any text is taken, the answer is the same twice, a change is idempotent, code survives."""

from __future__ import annotations

from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from setsail.data.steps.registry import PRESETS, STEPS, steps_of
from setsail.data.steps.step import Step
from setsail.data.summary import REASONS

_PIECES = (
    *(
        "```",
        "~~~",
        "```html",
        "`",
        "``",
        "`<b>`",
        "\n",
        "\n\n",
        "\r\n",
        "   ",
        "\t",
        "    ",
        "| a  |  b |",
        ">>> f(  1 )",
    ),
    *(
        "<p>",
        "</p>",
        "<b>",
        "</b>",
        "<br>",
        "<pre>",
        "</pre>",
        "<code>",
        "</code>",
        "<li>",
        "<td>",
        "<script>",
        "</script>",
    ),
    *(
        "<!--",
        "-->",
        "<img alt='x'>",
        '<a href="y">',
        "</config>",
        "&lt;",
        "&amp;",
        "amp;",
        "&gt;",
        "&#60;b&#62;",
        "&nbsp;",
    ),
    *(
        "http://",
        "www.",
        "a.org/x_(y)",
        ".",
        "...",
        "。。。。",
        "……",
        "!!!!!",
        "“",
        "’",
        "\u2010",
        "—",
        "，",
        ",",
        "１２Ａ",
        "（",
    ),
    *(
        "the quick brown fox ",
        "我们的数据很好",
        "後來發現頭髮",
        "乾隆著作",
        "カナ",
        "e\u0301",
        "ﬁ",
        "⼈",
        "②",
        "½",
        "\u200b",
        "\u3000",
    ),
    *(
        "Copyright © 2024",
        "版权所有",
        "a line that is long enough to be counted twice\n",
        "\U000e0061",
        "\U0001f3f4",
        "{",
        "#",
    ),
)
TEXTS = st.lists(
    st.one_of(st.sampled_from(_PIECES), st.text(st.characters(exclude_categories=["Cs"]), max_size=12)), max_size=14
).map("".join)

_OTHER_OPTIONS = {
    "html": {"pages": True},
    "unicode_form": {"form": "nfkc"},
    "full_width": {"punctuation": True},
    "chinese_script": {"to": "traditional"},
    "urls": {"action": "remove"},
    "stop_words": {"languages": ["en", "zh"]},
    "length": {"min_words": 3, "max_characters": 40},
    "toxicity": {"drop": True},
}


@lru_cache
def both_ways(name: str) -> tuple[Step, ...]:
    """The step as it is by default, and as it is otherwise."""
    return steps_of([name]) + (steps_of([{name: _OTHER_OPTIONS[name]}]) if name in _OTHER_OPTIONS else ())


@pytest.mark.parametrize("name", STEPS)
@settings(deadline=None)
@given(text=TEXTS)
def test_any_text_gives_the_same_answer_twice(name: str, text: str) -> None:
    for step in both_ways(name):
        treat = step.change or step.judge or step.mark
        assert treat is not None and treat(text) == treat(text)


@pytest.mark.parametrize("name", [name for name in STEPS if both_ways(name)[0].change])
@settings(deadline=None)
@given(text=TEXTS)
def test_a_change_is_idempotent_and_invents_little(name: str, text: str) -> None:
    for step in both_ways(name):
        assert step.change is not None
        once = step.change(text)
        assert step.change(once) == once
        # Longest: a fence around code, NFKC's squared words, NFC's few characters that are composed of three.
        assert len(once) <= 8 * len(text)


@pytest.mark.parametrize("name", [name for name in STEPS if both_ways(name)[0].judge])
def test_a_verdict_has_a_reason_that_is_explained_and_a_figure(name: str) -> None:
    bad = (
        "lorem ipsum {",
        "x " * 300,
        "你好" * 200,
        "kill yourself",
        "",
        "Dies ist ein deutscher Satz über das Wetter. " * 9,
    )
    verdicts = [verdict for step in both_ways(name) if step.judge for text in bad if (verdict := step.judge(text))]
    assert verdicts
    assert all(verdict.reason in REASONS and verdict.detail for verdict in verdicts)


CODE = '```python\nx  =  "<b>１２</b> &amp; http://a.org ﬁ … “q” 後來"\nx  =  1\nx  =  1\n\n\n\n```'


@pytest.mark.parametrize("name", [name for name in STEPS if both_ways(name)[0].change])
def test_fenced_code_comes_through_byte_for_byte(name: str) -> None:
    for step in both_ways(name):
        assert step.change is not None
        for before in ("", "<p>Say <b>it</b>:</p>\n\n", "说：\n\n", "see http://b.org/ “now”  ！！！！！\n\n"):
            assert CODE in step.change(before + CODE + "\n\nend")


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_made_of_steps(preset: str) -> None:
    names = [step.name for step in steps_of(preset)]
    assert len(set(names)) == len(names) and set(names) <= set(STEPS)
    assert "stop_words" not in names


@settings(deadline=None)
@given(text=TEXTS)
def test_the_changes_of_a_preset_together_are_idempotent(text: str) -> None:
    for preset in ("minimal", "standard"):
        once = _through(preset, text)
        assert _through(preset, once) == once


@lru_cache
def _changes(preset: str) -> tuple[Step, ...]:
    return tuple(step for step in steps_of(preset) if step.change)


def _through(preset: str, text: str) -> str:
    for step in _changes(preset):
        assert step.change is not None
        text = step.change(text)
    return text
