"""Which form fits a target: the best on the test of those that do, or none."""

from __future__ import annotations

import pytest

from setsail.base.errors import CheckRefused, UserError
from setsail.compress.forms import Figure, Form, Forms, Target, choose, parse_target


def form(name: str, megabytes: float, per_second: float, score: float) -> Form:
    return Form(name, f"/{name}", int(megabytes * 1e6), 10**9, per_second, Figure(score, score - 1, score + 1))


ORIGINAL = form("f16", 270, 100, 40.0)
FORMS = Forms(
    metric="chrf",
    higher=True,
    unit="tokens",
    num_rows=90,
    forms=(ORIGINAL, form("q8_0", 145, 180, 40.2), form("q4_0", 92, 150, 37.0), form("small", 60, 400, 38.0)),
)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("50MB", Target(most_bytes=50_000_000)),
        ("1.5 GB", Target(most_bytes=1_500_000_000)),
        ("64mib", Target(most_bytes=64 * 2**20)),
        ("2x", Target(times_faster=2.0)),
        ("1.5X", Target(times_faster=1.5)),
    ],
)
def test_targets_as_people_write_them(text: str, target: Target) -> None:
    assert parse_target(text) == target


@pytest.mark.parametrize("text", ["", "50", "MB", "-2x", "0x", "0MB", "2x faster", "1e3MB"])
def test_what_is_no_target(text: str) -> None:
    with pytest.raises(UserError, match="neither a size nor a speed") as caught:
        parse_target(text)
    assert "50MB" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("target", "chosen"),
    [("1GB", "q8_0"), ("145MB", "q8_0"), ("100MB", "small"), ("60MB", "small"), ("1x", "q8_0"), ("2x", "small")],
)
def test_the_best_of_those_that_fit(target: str, chosen: str) -> None:
    assert choose(FORMS, parse_target(target)).name == chosen


def test_less_may_be_better() -> None:
    fewer_bits = Forms("bits_per_byte", False, "tokens", 90, FORMS.forms)
    assert choose(fewer_bits, parse_target("1GB")).name == "q4_0"
    assert fewer_bits.is_beaten(ORIGINAL, by_speed=False) and not fewer_bits.is_beaten(FORMS.forms[2], by_speed=False)


def test_none_fits_and_the_nearest_is_told() -> None:
    with pytest.raises(CheckRefused, match="small has 60,000,000 bytes, 50,000,000 were asked for"):
        choose(FORMS, parse_target("50MB"))
    with pytest.raises(CheckRefused, match=r"small is 4\.00 times as fast"):
        choose(FORMS, parse_target("5x"))


def test_what_is_beaten_everywhere() -> None:
    beaten = {each.name for each in FORMS.forms if FORMS.is_beaten(each, by_speed=False)}
    assert beaten == {"f16", "q4_0"}
    assert {each.name for each in FORMS.forms if FORMS.is_beaten(each, by_speed=True)} == {"f16", "q4_0"}
    twins = Forms("chrf", True, "tokens", 90, (ORIGINAL, ORIGINAL))
    assert not any(twins.is_beaten(each, by_speed=True) for each in twins.forms)
