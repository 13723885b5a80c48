"""Spans of time as a person types them: "30m", "2h", "1h30m", "90 s"."""

from __future__ import annotations

import re

from setsail.base.errors import UserError

_UNITS = {"s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "hour": 3600.0, "d": 86400.0, "day": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+?)s?\s*(?=\d|$)")


def seconds_of(text: str, place: str) -> float:
    """How many seconds a span has.

    >>> seconds_of("1h30m", ""), seconds_of("90 s", ""), seconds_of("0.5 hours", "")
    (5400.0, 90.0, 1800.0)

    Raises:
        UserError: it is no span of time, or it is nothing; `place` says where it stands.
    """
    plain = text.strip().lower()
    parts = [(float(found[1]), found[2], found.end()) for found in _PART.finditer(plain)]
    is_whole = bool(parts) and "".join(found[0] for found in _PART.finditer(plain)) == plain
    if not is_whole or any(unit not in _UNITS for _, unit, _ in parts):
        raise UserError(f'"{text}" is no span of time', place=place, hint="30m, 2h, 1h30m or 90s")
    seconds = sum(count * _UNITS[unit] for count, unit, _ in parts)
    if seconds <= 0:
        raise UserError(f'"{text}" leaves no time to try anything', place=place, hint="30m, 2h, 1h30m or 90s")
    return seconds
