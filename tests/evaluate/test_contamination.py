from __future__ import annotations

import pytest
import toy_evaluation as toy

from setsail.base.errors import DataError
from setsail.evaluate.contamination import take_out

LONG = (
    "The function turns the array over, checks each axis, fills the buffer with zeros and then returns a new view of "
    "the same memory, unless the shape of the input is empty, in which case it raises an error that names the axis."
)


def test_exact_and_near_copies_are_counted_named_and_taken_out() -> None:
    train = [*toy.rows(20), toy.row("What does turn do?", LONG, origin="train.csv:9")]
    same = toy.row(train[3].messages[1]["content"].upper(), train[3].messages[2]["content"] + "!", origin="test.csv:2")
    near = toy.row("What does turn do?", LONG + " Always.", origin="test.csv:3")
    fresh = [
        toy.row(f"How tall is mountain {index}?", f"It rises {index} km.", origin="test.csv") for index in range(3)
    ]
    kept, account = take_out([fresh[0], same, fresh[1], near, fresh[2]], train, threshold=0.85)
    assert kept == fresh
    assert (account.num_test, account.num_kept, account.threshold) == (5, 3, 0.85)
    assert account.exact == {same.id: train[3].id}
    assert account.near == {near.id: train[20].id}


def test_a_clean_test_is_left_as_it_is() -> None:
    kept, account = take_out(toy.rows(40)[30:], [toy.row("Who?", "Nobody at all.")], threshold=0.85)
    assert (len(kept), account.num_kept, account.exact, account.near) == (10, 10, {}, {})


def test_nothing_is_scored_when_training_has_seen_it_all() -> None:
    with pytest.raises(DataError, match="each of the 5 test rows also stands in train, exactly \\(5\\)") as caught:
        take_out(toy.rows(5), toy.rows(20), threshold=0.85)
    assert "data.split.by" in (caught.value.hint or "")
