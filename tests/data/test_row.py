"""Rows on disk: the same out as in, and damage named."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from setsail.base.errors import DataError
from setsail.data.row import Drop, Message, Row, read_drops, read_rows, row_id, write_drops, write_rows

_text = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12)
_message = st.builds(
    lambda role, content: Message(role=role, content=content), st.sampled_from(["user", "assistant"]), _text
)
_row = st.builds(Row, _text, st.lists(_message, max_size=3).map(tuple), _text, _text, _text)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_row, max_size=4))
def test_rows_come_back_as_they_were(tmp_path: Path, rows: list[Row]) -> None:
    write_rows(tmp_path / "a.parquet", rows)
    write_rows(tmp_path / "b.parquet", rows)
    assert read_rows(tmp_path / "a.parquet") == rows
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_drops_come_back(tmp_path: Path) -> None:
    drops = [Drop("1", "a:1", "no_answer", "why")]
    write_drops(tmp_path / "d.parquet", drops)
    assert read_drops(tmp_path / "d.parquet") == drops
    with pytest.raises(DataError, match="no column messages, text, group"):
        read_rows(tmp_path / "d.parquet")


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_rows(tmp_path / "none.parquet")
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="cannot be read"):
        read_rows(tmp_path / "a.parquet")


def test_an_id_is_sixteen_hex_digits_of_content_and_origin() -> None:
    first = row_id({"b": 1, "a": "é"}, "f:1")
    assert first == row_id({"a": "é", "b": 1}, "f:1") != row_id({"a": "é", "b": 2}, "f:1")
    assert len(first) == 16 and int(first, 16) >= 0
