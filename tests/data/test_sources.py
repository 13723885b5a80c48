"""Sources: files, folders, globs and packages; what is missing is named with the nearest that exists."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data.small_rows import pair
from setsail.base.errors import DataError
from setsail.base.recipe_data import Data
from setsail.data.row import Record
from setsail.data.sources import find, fingerprint, read


def _jsonl(path: Path, first: int, count: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(pair(n)) + "\n" for n in range(first, first + count)))


def test_a_folder_is_read_in_order_and_prose_beside_tables_is_left_out(tmp_path: Path) -> None:
    _jsonl(tmp_path / "d" / "b.jsonl", 0, 2)
    _jsonl(tmp_path / "d" / "sub" / "a.jsonl", 2, 2)
    _jsonl(tmp_path / "d" / ".hidden.jsonl", 4, 2)
    (tmp_path / "d" / "README.md").write_text("# About")
    (tmp_path / "d" / "logo.png").write_bytes(b"x")
    found = find("d", tmp_path)
    assert [file.place for file in found.files] == ["b.jsonl", "sub/a.jsonl"]
    assert found.left_out == ("README.md", "logo.png")
    origins = [item.origin for _, contents in read(Data(source="d"), tmp_path) for item in contents.items]
    assert origins == ["b.jsonl:1", "b.jsonl:2", "sub/a.jsonl:1", "sub/a.jsonl:2"]


def test_a_glob_names_files_from_their_common_folder(tmp_path: Path) -> None:
    _jsonl(tmp_path / "x" / "a.jsonl", 0, 1)
    _jsonl(tmp_path / "y" / "b.jsonl", 1, 1)
    assert [file.place for file in find("*/*.jsonl", tmp_path).files] == ["x/a.jsonl", "y/b.jsonl"]
    assert [file.place for file in find(str(tmp_path / "**" / "*.jsonl"), Path("/")).files] == [
        "x/a.jsonl",
        "y/b.jsonl",
    ]


@pytest.mark.parametrize(
    ("source", "words", "hint"),
    [
        ("tickts.csv", '"tickts.csv" does not exist', 'did you mean "tickets.csv"?'),
        ("nowhere/a.csv", "does not exist", "does not exist either"),
        ("empty", 'the folder "empty" holds no data file', "found: nothing"),
        ("*.parquet", "names no data file", "it matches nothing"),
        ("https://example.org/a.csv", "is a web address", "fetch the file first"),
        ("docstrings:numpi", 'package "numpi" is not installed', 'did you mean "numpy"?'),
        ("docstrings:a b", "is not the name of a package", "docstrings:numpy"),
    ],
)
def test_what_is_missing(tmp_path: Path, source: str, words: str, hint: str) -> None:
    (tmp_path / "tickets.csv").write_text("a,b\n1,2\n")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=words) as caught:
        list(read(Data(source=source), tmp_path))
    assert hint in str(caught.value.hint)


def test_the_fingerprint_follows_the_bytes_and_not_the_place(tmp_path: Path) -> None:
    for name in ("one", "two"):
        _jsonl(tmp_path / name / "a.jsonl", 0, 3)
    first = fingerprint(Data(source="a.jsonl"), tmp_path / "one")
    assert first == fingerprint(Data(source="a.jsonl"), tmp_path / "two") and len(first) == 64
    _jsonl(tmp_path / "two" / "a.jsonl", 0, 4)
    assert first != fingerprint(Data(source="a.jsonl"), tmp_path / "two")


def test_origins_do_not_depend_on_where_the_file_lies(tmp_path: Path) -> None:
    _jsonl(tmp_path / "d" / "a.jsonl", 0, 1)
    for source, base in (
        ("a.jsonl", tmp_path / "d"),
        (str(tmp_path / "d" / "a.jsonl"), Path("/")),
        ("d/a.jsonl", tmp_path),
    ):
        ((_, contents),) = read(Data(source=source), base)
        assert isinstance(contents.items[0], Record) and contents.items[0].origin == "a.jsonl:1"


def test_beside_given_parts_nothing_else_is_read(tmp_path: Path) -> None:
    for name in ("train.csv", "test.csv"):
        (tmp_path / name).write_text("text,label\na,b\n", encoding="utf-8")
    (tmp_path / "categories.json").write_text('["b", "c"]', encoding="utf-8")
    found = find(str(tmp_path), tmp_path)
    assert [(file.place, file.part) for file in found.files] == [("test.csv", "test"), ("train.csv", "train")]
    assert found.left_out == ("categories.json (beside given parts)",)
