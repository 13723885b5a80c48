from __future__ import annotations

from data.steps.treated import changed


def test_every_kind_of_line_end_becomes_a_line_feed() -> None:
    assert changed("line_ends", "a\r\nb\rc\u2028d\u2029e\x85f\n") == "a\nb\nc\nd\ne\nf\n"
