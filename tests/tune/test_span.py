"""Spans of time as they are typed, and what is none."""

from __future__ import annotations

import pytest

from setsail.base.errors import UserError
from setsail.tune.span import seconds_of


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30m", 1800),
        ("2h", 7200),
        ("1h30m", 5400),
        ("90s", 90),
        (" 1.5 Hours ", 5400),
        ("10 min", 600),
        ("2 days", 172_800),
        ("1 h 5 mins", 3900),
    ],
)
def test_spans(text: str, seconds: float) -> None:
    assert seconds_of(text, "--budget") == seconds


@pytest.mark.parametrize("text", ["30 potatoes", "45", "", "m", "-5m", "30m!", "1h x", "30mm", "1e3s", "tomorrow"])
def test_what_is_no_span_is_said(text: str) -> None:
    with pytest.raises(UserError, match="is no span of time") as raised:
        seconds_of(text, "--budget")
    assert text in raised.value.message and raised.value.place == "--budget" and "30m" in str(raised.value.hint)


@pytest.mark.parametrize("text", ["0s", "0m", "0h0s"])
def test_no_time_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="leaves no time"):
        seconds_of(text, "--budget")
