"""A row goes through its steps and comes out as a row or as a drop, with everything that was done to it named."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from setsail.data.clean import clean_row
from setsail.data.row import Drop, Row
from setsail.data.steps.registry import steps_of
from setsail.data.steps.step import Step

STANDARD = steps_of("standard")


def text_row(text: str, **fields: object) -> Row:
    return Row("1", (), text, "", "a.csv:2", **fields)  # type: ignore[arg-type]


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_twice_is_once(text: str) -> None:
    once = clean_row(text_row(text), STANDARD)
    if isinstance(once.row, Drop):
        assert once.row.reason == "empty_after_cleaning" and (once.row.id, once.row.origin) == ("1", "a.csv:2")
        return
    assert clean_row(once.row, STANDARD).changes == ()
    assert (once.row.text != text) == bool(once.changes)


def test_each_change_is_named_once_for_all_turns() -> None:
    row = Row(
        "1", ({"role": "user", "content": "a\r\nb"}, {"role": "assistant", "content": "c\r\nd\u00a0e"}), "", "", "x"
    )
    cleaned = clean_row(row, STANDARD)
    assert cleaned.changes == ("line_ends", "white_space")
    assert isinstance(cleaned.row, Row)
    assert [turn["content"] for turn in cleaned.row.messages] == ["a\nb", "c\nd e"]


def test_a_row_with_nothing_to_do_is_the_same_object() -> None:
    row = text_row("plain 文本")
    assert clean_row(row, STANDARD).row is row


def test_a_turn_that_becomes_empty_drops_the_row_before_any_judge() -> None:
    row = Row("1", ({"role": "user", "content": "a"}, {"role": "assistant", "content": "\u200b\x00"}), "", "", "x:9")
    cleaned = clean_row(row, steps_of(["standard", {"length": {"min_characters": 50}}]))
    assert cleaned.row == Drop("1", "x:9", "empty_after_cleaning") and cleaned.changes == ("control_characters",)


def test_a_judge_sees_all_turns_and_its_figure_is_kept() -> None:
    row = Row("1", ({"role": "user", "content": "123"}, {"role": "assistant", "content": "456"}), "", "", "x:9")
    assert clean_row(row, steps_of([{"length": {"min_characters": 8}}])).row is row
    dropped = clean_row(row, steps_of([{"length": {"min_characters": 9}}])).row
    assert dropped == Drop("1", "x:9", "too_short", "length: 8 characters < 9")


def test_a_mark_is_put_once_beside_the_others() -> None:
    steps = steps_of(["toxicity"])
    cleaned = clean_row(text_row("go to hell", marks=("made",)), steps)
    assert isinstance(cleaned.row, Row)
    assert cleaned.row.marks == ("made", "toxic") and cleaned.changes == ("toxicity",)
    assert clean_row(cleaned.row, steps).row is cleaned.row


def test_steps_after_a_drop_are_not_asked() -> None:
    def never(text: str) -> str:
        raise AssertionError(text)

    steps = (*steps_of([{"length": {"min_characters": 9}}]), Step("never", change=never))
    assert isinstance(clean_row(text_row("short"), steps).row, Drop)
