"""Made rows: only from training rows, marked, the same every time, and never an answer changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.small_rows import pair
from setsail.base.recipe import Augment
from setsail.data.augment import MARK, augmented
from setsail.data.row import Message, Row, read_rows
from setsail.data.summary import Summary

Write = Callable[..., Path]
Prepare = Callable[..., Summary]
EVERY = Augment(swap=0.2, delete=0.2, typo=0.3, copies=2)


def text_row(text: str) -> Row:
    return Row("0" * 16, (), text, "g", "t:1")


@given(st.text(max_size=200), st.integers(0, 3))
def test_any_text_gives_the_same_marked_rows_every_time(text: str, seed: int) -> None:
    made = list(augmented(text_row(text), EVERY, seed=seed))
    assert made == list(augmented(text_row(text), EVERY, seed=seed))
    for row in made:
        assert row.text != text and row.text.strip() and row.group == "g"
        assert row.marks[-1].startswith(MARK) and row.marks[-1].endswith("0" * 16)
    assert len({row.id for row in made}) == len(made)


@pytest.mark.parametrize("text", ["我的快递还没有到请帮我查一下", "please tell me where my parcel is today"])
def test_swaps_and_deletions_keep_the_words(text: str) -> None:
    swapped = next(augmented(text_row(text), Augment(swap=0.3), seed=1)).text
    assert sorted(swapped) == sorted(text) and swapped != text
    shorter = next(augmented(text_row(text), Augment(delete=0.2), seed=1)).text
    assert 0.6 * len(text) < len(shorter) < len(text) and set(shorter) <= set(text)


def test_answers_numbers_and_placeholders_stay(tmp_path: Path) -> None:
    said = "Call [PHONE_1] about order 4711, quickly, before the delivery tomorrow"
    row = Row(
        "1" * 16,
        (Message(role="user", content=said), Message(role="assistant", content="It is on its way")),
        "",
        "",
        "t:1",
    )
    for made in augmented(row, Augment(swap=0.3, delete=0.3, typo=0.9, copies=8), seed=3):
        assert made.messages[1] == row.messages[1]
        assert "[PHONE_1]" in made.messages[0]["content"] and "4711" in made.messages[0]["content"]


def test_only_training_rows_are_copied_and_they_are_counted(jsonl: Write, prepared: Prepare, tmp_path: Path) -> None:
    jsonl([pair(n) for n in range(100)])
    summary = prepared("rows.jsonl", augment={"swap": 0.2})
    parts = {part: read_rows(tmp_path / "out" / f"{part}.parquet") for part in summary.sizes}
    made = [row for row in parts["train"] if row.marks]
    assert len(made) == summary.num_made > 40 and summary.sizes["train"] == len(parts["train"]) == 80 + len(made)
    assert not any(row.marks for part in ("validation", "test") for row in parts[part])
    plain = prepared("rows.jsonl", out="plain")
    assert [row for row in parts["train"] if not row.marks] == read_rows(tmp_path / "plain" / "train.parquet")
    assert plain.num_made == 0
