"""Every container gives its records with their lines, and says what is broken and where."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from setsail.base.errors import DataError
from setsail.data.containers import Contents, container_of, read_file
from setsail.data.row import Drop, Record

ROWS = [{"prompt": f"Q{n}", "completion": f"A{n}\nsecond"} for n in range(4)]


def _read(folder: Path, name: str, content: str | bytes) -> Contents:
    data = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(data)
    return read_file(folder / name, name)


def _fields(contents: Contents) -> list[dict[str, object]]:
    return [dict(item.fields) for item in contents.items if isinstance(item, Record)]


def _csv(separator: str = ",") -> str:
    return f"prompt{separator}completion\r\n" + "".join(
        f'{row["prompt"]}{separator}"{row["completion"]}"\r\n' for row in ROWS
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", _csv()),
        ("a.csv", _csv(";")),
        ("a.tsv", _csv("\t")),
        ("a.json", json.dumps(ROWS)),
        ("a.json", json.dumps({"version": 1, "data": ROWS}, indent=1)),
        ("a.json", "\n".join(map(json.dumps, ROWS))),
        ("a.jsonl", "\n\n".join(map(json.dumps, ROWS))),
        ("a.ndjson", "\r\n".join(map(json.dumps, ROWS))),
    ],
)
def test_each_text_container(tmp_path: Path, name: str, content: str) -> None:
    assert _fields(_read(tmp_path, name, content)) == ROWS
    packed = _read(tmp_path, name + ".gz", gzip.compress(content.encode(), mtime=0))
    assert _fields(packed) == ROWS and container_of(Path(name + ".gz")) == packed.container


def test_parquet_and_arrow(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(ROWS)
    pq.write_table(table, tmp_path / "a.parquet")
    with pa.ipc.new_stream(tmp_path / "stream.arrow", table.schema) as stream:
        stream.write_table(table)
    with pa.ipc.new_file(tmp_path / "file.arrow", table.schema) as file:
        file.write_table(table)
    for name in ("a.parquet", "stream.arrow", "file.arrow"):
        contents = read_file(tmp_path / name, name)
        assert _fields(contents) == ROWS and contents.items[3].origin == f"{name}:4"
    with pytest.raises(DataError, match="not a readable parquet file"):
        _read(tmp_path, "b.parquet", b"PAR1 is not enough")


def test_origins_are_lines(tmp_path: Path) -> None:
    csv = 'prompt,completion\n"two\nlines",a\n\nb,c\n'
    assert [item.origin for item in _read(tmp_path, "a.csv", csv).items] == ["a.csv:2", "a.csv:5"]
    assert [item.origin for item in _read(tmp_path, "a.jsonl", '{"a":1}\n\n{"a":2}').items] == [
        "a.jsonl:1",
        "a.jsonl:3",
    ]


def test_ragged_and_broken_rows_are_drops_with_lines(tmp_path: Path) -> None:
    contents = _read(tmp_path, "a.csv", 'p,c\n1,2\n1,2,3\n"x"y,4\n5\n6,7\n')
    drops = [(item.origin, item.reason) for item in contents.items if isinstance(item, Drop)]
    assert drops == [("a.csv:3", "ragged_row"), ("a.csv:4", "broken_csv"), ("a.csv:5", "ragged_row")]
    assert len(_fields(contents)) == 2


def test_a_broken_and_a_truncated_line_among_ten_thousand(tmp_path: Path) -> None:
    lines = [json.dumps({"prompt": n, "completion": "x"}) for n in range(10_000)]
    lines[4_000] = "{'prompt': 1}"
    lines[9_999] = lines[9_999][:-5]
    items = _read(tmp_path, "a.jsonl", "\n".join(lines)).items
    drops = [item for item in items if isinstance(item, Drop)]
    assert [drop.origin for drop in drops] == ["a.jsonl:4001", "a.jsonl:10000"]
    assert len(items) == 10_000


@pytest.mark.parametrize(
    ("name", "content", "words", "place"),
    [
        ("a.csv", b"", "the file is empty", "a.csv"),
        ("a.csv", b" \n\n", "the file is empty", "a.csv"),
        ("a.csv", b"prompt,completion\n", "holds no rows", "a.csv"),
        ("a.csv", b"a,a\n1,2\n", "names a column twice: 'a'", "a.csv:1"),
        ("a.csv", b'a,b\n1,2\n"open,3\n4,5\n', "never closed: everything down to line 4", "a.csv:3"),
        ("a.json", b'[{"a": 1},\n {"a": }]', "broken JSON: Expecting value, column 8", "a.json:2"),
        ("a.json", b"[]", "holds no rows", "a.json"),
        ("a.json", b"[" * 100_000, "nested too deeply", "a.json"),
        ("a.jsonl", b"{broken\n", "no row of the file can be read: broken_json", "a.jsonl:1"),
        ("a.jsonl.gz", b"\x1f\x8bnot really", "gzip is broken", "a.jsonl.gz"),
        ("a.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 99, mtime=0)[:-9], "gzip is broken", "a.jsonl.gz"),
        ("a.parquet", b"", "the file is empty", "a.parquet"),
        ("a.tar.gz", b"x", "gzip is broken", "a.tar.gz"),
        ("a.rar", b"x", "not a kind of file", None),
    ],
)
def test_what_is_broken_as_a_whole(tmp_path: Path, name: str, content: bytes, words: str, place: str | None) -> None:
    with pytest.raises(DataError, match=words) as caught:
        _read(tmp_path, name, content)
    assert caught.value.place == place


def test_a_decompression_bomb_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bomb.jsonl.gz").write_bytes(gzip.compress(b'{"a": "' + b"0" * 40_000_000 + b'"}', mtime=0))
    assert (tmp_path / "bomb.jsonl.gz").stat().st_size < 100_000
    with pytest.raises(DataError, match="decompression bomb"):
        read_file(tmp_path / "bomb.jsonl.gz", "bomb.jsonl.gz")


def test_prose_is_cut_at_blank_lines_lines_or_headings(tmp_path: Path) -> None:
    texts = {
        "blank.txt": ("one\nmore\n\ntwo\n", [("one\nmore", 1), ("two", 4)]),
        "lines.txt": ("one\ntwo\n", [("one", 1), ("two", 2)]),
        "a.md": ("# A\ntext\n\n```\n# no heading\n```\n## B\nmore\n", None),
    }
    for name, (content, expected) in texts.items():
        contents = _read(tmp_path, name, content)
        found = [
            (item.fields["text"], int(item.origin.split(":")[1])) for item in contents.items if isinstance(item, Record)
        ]
        assert found == (expected or [("# A\ntext\n\n```\n# no heading\n```", 1), ("## B\nmore", 7)])


def test_big_cells_and_numbers(tmp_path: Path) -> None:
    assert len(str(_fields(_read(tmp_path, "a.csv", "a,b\n" + "x" * 300_000 + ",y\n"))[0]["a"])) == 300_000
    items = _read(tmp_path, "a.jsonl", '{"a": 1}\n{"a": ' + "9" * 5000 + "}\n").items
    assert [type(item) for item in items] == [Record, Drop]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=6), st.integers(0, 200))
def test_a_damaged_parquet_file_is_read_or_refused(tmp_path: Path, flips: list[tuple[int, int]], cut: int) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "whole.parquet")
    data = bytearray((tmp_path / "whole.parquet").read_bytes())
    for place, value in flips:
        data[place % len(data)] = value
    try:
        _read(tmp_path, "a.parquet", bytes(data[: len(data) - cut]))
    except DataError as error:
        assert error.message


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["a.csv", "a.tsv", "a.json", "a.jsonl", "a.txt", "a.md", "a.parquet", "a.arrow", "a.jsonl.gz"]),
    st.one_of(st.binary(max_size=80), st.text(alphabet='{}[]",:\n\\a1 #', max_size=60).map(str.encode)),
)
def test_any_bytes_are_read_or_refused(tmp_path: Path, name: str, content: bytes) -> None:
    try:
        items = _read(tmp_path, name, content).items
    except DataError as error:
        assert error.message
        return
    assert len({item.origin for item in items}) == len(items)


def test_a_header_of_very_many_columns(tmp_path: Path) -> None:
    """Looking for names that come twice once took a time that grew with the square of their number."""
    names = [f"c{n}" for n in range(200_000)]
    (record,) = _fields(_read(tmp_path, "a.csv", ",".join(names) + "\n" + ",".join(names) + "\n"))
    assert list(record) == names
