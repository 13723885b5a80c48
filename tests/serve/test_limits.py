"""Budgets by a clock of our own: minutes slide, days turn at midnight in UTC, tokens are remembered."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from setsail.base.errors import UserError
from setsail.serve.errors import ApiError
from setsail.serve.keys import Key
from setsail.serve.limits import Limits


def key(name: str = "shop", **limits: int) -> Key:
    return Key(name=name, sha256="0" * 64, scopes=("generate",), created=datetime(2026, 1, 1, tzinfo=UTC), **limits)


@dataclass
class Clock:
    seconds: float = 0.0
    start: datetime = field(default_factory=lambda: datetime(2026, 11, 23, 23, 0, tzinfo=UTC))

    def limits(self, path: Path) -> Limits:
        return Limits(path, seconds=lambda: self.seconds, now=lambda: self.start + timedelta(seconds=self.seconds))


def test_a_minute_slides(tmp_path: Path) -> None:
    clock, two = Clock(), key(requests_per_minute=2)
    limits = clock.limits(tmp_path / "used")
    for clock.seconds in (0.0, 50.0):
        limits.admit(two)
    clock.seconds = 55.5
    with pytest.raises(ApiError, match="its 2 requests of this minute") as caught:
        limits.admit(two)
    assert (caught.value.status, caught.value.code, caught.value.retry_after_seconds) == (429, "requests_per_minute", 5)
    limits.admit(key("other", requests_per_minute=2))
    clock.seconds = 60.0
    limits.admit(two)
    with pytest.raises(ApiError):
        limits.admit(two)


@given(st.lists(st.floats(0.0, 40.0), max_size=60), st.integers(1, 5))
def test_no_minute_has_more_requests_than_the_limit(
    tmp_path_factory: pytest.TempPathFactory, pauses: list[float], most: int
) -> None:
    clock, one = Clock(), key(requests_per_minute=most)
    limits = clock.limits(tmp_path_factory.getbasetemp() / "none")
    let_in: list[float] = []
    for pause in pauses:
        clock.seconds += pause
        try:
            limits.admit(one)
            let_in.append(clock.seconds)
        except ApiError as error:
            assert error.retry_after_seconds is not None and 1 <= error.retry_after_seconds <= 61
    for moment in let_in:
        assert sum(moment - 60.0 < other <= moment for other in let_in) <= most


def test_tokens_are_of_a_day_and_survive_a_restart(tmp_path: Path) -> None:
    clock, small = Clock(), key(tokens_per_day=100)
    limits = clock.limits(tmp_path / "used")
    limits.admit(small)
    limits.charge(small, 99)
    limits.charge(key("free"), 5)
    limits.admit(small)
    limits.charge(small, 51)
    assert not limits.is_saved
    limits.save(limits.snapshot())
    assert limits.is_saved
    again = clock.limits(tmp_path / "used")
    assert (again.tokens_today("shop"), again.tokens_today("free")) == (150, 0)
    with pytest.raises(ApiError, match="its 100 tokens of today") as caught:
        again.admit(small)
    assert (caught.value.code, caught.value.retry_after_seconds) == ("tokens_per_day", 3600)
    clock.seconds = 3600.0
    again.admit(small)
    assert again.tokens_today("shop") == 0 == clock.limits(tmp_path / "used").tokens_today("shop")


def test_what_is_refused_counts_for_nothing(tmp_path: Path) -> None:
    clock, both = Clock(), key(tokens_per_day=1, requests_per_minute=1)
    limits = clock.limits(tmp_path / "used")
    limits.charge(both, 1)
    for _ in range(3):
        with pytest.raises(ApiError, match="tokens of today"):
            limits.admit(both)
    clock.seconds = 3600.0
    limits.admit(both)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version":1,"day":"2026-11-23","tokens":{"shop":-1}}'])
def test_damaged_usage_is_said(tmp_path: Path, content: str) -> None:
    (tmp_path / "used").write_text(content)
    with pytest.raises(UserError, match="damaged"):
        Limits(tmp_path / "used")
