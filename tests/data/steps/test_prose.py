"""Code is found where Markdown has it, and a change that does not come to rest leaves the text alone."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from setsail.data.steps.prose import fenced_pieces_of, in_prose, pieces_of, settled

_MARKDOWN = st.lists(st.sampled_from(["`", "``", "```", "````", "~~~", "\n", "  ", "a", "b c"]), max_size=20).map(
    "".join
)


@settings(deadline=None)
@given(_MARKDOWN)
def test_the_pieces_are_the_text(text: str) -> None:
    assert "".join(pieces_of(text)) == text == "".join(fenced_pieces_of(text))
    assert len(pieces_of(text)) % 2 == 1


def test_a_longer_fence_holds_a_shorter_one() -> None:
    text = "a\n````\n```\nx\n```\n````\nb"
    assert pieces_of(text) == ["a\n", "````\n```\nx\n```\n````", "\nb"]


def test_a_fence_in_a_list_and_one_that_is_never_closed() -> None:
    assert pieces_of("- do\n  ```\n  x\n  ```\n- y")[1] == "  ```\n  x\n  ```"
    assert pieces_of("a\n~~~\nx\n```") == ["a\n", "~~~\nx\n```", ""]


def test_three_backticks_inside_a_sentence_are_no_fence() -> None:
    assert in_prose("use ``` here\nthen x", str.upper) == "USE ``` HERE\nTHEN X"
    assert pieces_of("```x``` is code\nb")[0] in ("", "```x``` is code\nb")


def test_a_change_that_never_settles_changes_nothing() -> None:
    assert settled(lambda text: text + "x")("a") == "a"
    assert settled(lambda text: text.replace("aa", "a"))("a" * 100) == "a"
