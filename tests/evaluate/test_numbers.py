from __future__ import annotations

import pytest

from setsail.evaluate.numbers import count, duration, metric_value, short, size


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (metric_value("chrf", -0.04, signed=True), "0.0"),
        (metric_value("bits_per_byte", 0.0004), "0.000"),
        (metric_value("bits_per_byte", -0.5204, signed=True), "−0.520"),
        (metric_value("exact_stop", 0.984), "98 %"),
        (metric_value("exact_stop", -0.12, signed=True), "−12 pp"),
        (metric_value("num_characters", 1234.6), "1,235"),
        (count(1234567), "1,234,567"),
        (size(0), "0 B"),
        (size(999), "999 B"),
        (size(999_700), "1.00 MB"),
        (size(12_345_678), "12.3 MB"),
        (duration(0.04), "0.0 s"),
        (duration(59.97), "1 min 0 s"),
        (duration(3599.6), "1 h 0 min"),
        (short(-0.25), "−0.25"),
        (short(2e-4), "0.0002"),
        (short(0), "0"),
    ],
)
def test_how_figures_are_written(written: str, expected: str) -> None:
    assert written == expected
