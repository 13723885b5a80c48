"""Folders as people have them: links, pipes, odd names, given splits, files that are still being written."""

from __future__ import annotations

import json
import os
import socket
import unicodedata
from pathlib import Path

import pytest

from data.small_rows import pair
from setsail.base.errors import DataError, SystemRefusal
from setsail.base.recipe_data import Data
from setsail.data import sources, unpack
from setsail.data.containers import read_file
from setsail.data.given import given_parts
from setsail.data.row import Drop, Record, write_drops


def _write(path: Path, count: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(pair(n)) + "\n" for n in range(count)))
    return path


def _places(folder: Path) -> list[str]:
    return [file.place for file in sources.find(".", folder).files]


@pytest.mark.parametrize(
    ("place", "part"),
    [
        ("train.csv", "train"),
        ("train-00000-of-00003.parquet", "train"),
        ("data/validation-00000-of-00001.parquet", "validation"),
        ("dev.jsonl.gz", "validation"),
        ("VAL.csv", "validation"),
        ("squad_train.json", "train"),
        ("test_v2.csv", "test"),
        ("train/part-1.csv", "train"),
        ("a.zip/test/part-1.csv", "test"),
        ("训练集.xlsx", "train"),
        ("驗證集.csv", "validation"),
        ("latest.csv", None),
        ("my test results.csv", None),
        ("training-material/a.csv", None),
        ("trainers.csv", None),
    ],
)
def test_names_say_which_part_a_file_is(place: str, part: str | None) -> None:
    assert sources.given_split(place) == part


def test_a_split_is_given_only_by_files_side_by_side(tmp_path: Path) -> None:
    assert given_parts(["test.csv"]) == {"test.csv": ""}
    assert given_parts(["valid.csv", "test.csv"]) == {"valid.csv": "", "test.csv": ""}
    _write(tmp_path / "d" / "train.jsonl", 3)
    _write(tmp_path / "d" / "dev.jsonl", 2)
    _write(tmp_path / "d" / "extra.jsonl", 1)
    found = sources.find("d", tmp_path)
    assert [(file.place, file.part) for file in found.files] == [("dev.jsonl", "validation"), ("train.jsonl", "train")]
    assert found.left_out == ("extra.jsonl (beside given parts)",)
    read = {place: contents.items for place, contents in sources.read(Data(source="d"), tmp_path)}
    parts = {place: {item.part for item in items if isinstance(item, Record)} for place, items in read.items()}
    assert parts == {"dev.jsonl": {"validation"}, "train.jsonl": {"train"}}


def test_links_pipes_and_sockets_are_named_and_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path / "a.jsonl")
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "round.jsonl").symlink_to(tmp_path / "round.jsonl")
    (tmp_path / "gone.jsonl").symlink_to(tmp_path / "nowhere.jsonl")
    (tmp_path / "up").symlink_to(tmp_path)
    (tmp_path / "ok.jsonl").symlink_to(tmp_path / "a.jsonl")
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(tmp_path)  # the path of a socket has to be short
        listener.bind("s.jsonl")
        found = sources.find(".", tmp_path)
    assert [file.place for file in found.files] == ["a.jsonl", "ok.jsonl"]
    assert found.left_out == (
        "gone.jsonl (a broken link)",
        "pipe.jsonl (a pipe)",
        "round.jsonl (a broken link)",
        "s.jsonl (a socket)",
        "up (a link to a folder)",
    )
    assert "gone.jsonl (a broken link)" in sources.not_read(Data(source="."), tmp_path)[0]
    for source in ("pipe.jsonl", "/dev/null"):
        with pytest.raises(DataError, match=r"is a (pipe|device), not a file"):
            sources.find(source, tmp_path)
    with pytest.raises(DataError, match="a pipe, a device or a socket"):
        unpack.read_bytes(tmp_path / "pipe.jsonl", "pipe.jsonl")


def test_a_folder_may_be_named_like_a_file(tmp_path: Path) -> None:
    _write(tmp_path / "d" / "x.jsonl" / "in.jsonl")
    _write(tmp_path / "d" / "y.jsonl")
    assert [file.place for file in sources.find("d", tmp_path).files] == ["x.jsonl/in.jsonl", "y.jsonl"]
    assert [file.place for file in sources.find("d/x.jsonl", tmp_path).files] == ["in.jsonl"]
    assert sources.find("d/*.jsonl", tmp_path).left_out == ("x.jsonl",)


def test_names_of_any_bytes_become_places_that_can_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    for name in (b"\xff\xfe.jsonl", b"line\nbreak.jsonl", "résumé.jsonl".encode()):
        _write(Path(os.fsdecode(os.path.join(os.fsencode(folder), name))))
    places = _places(folder)
    assert sorted(places) == ["\\xff\\xfe.jsonl", "line\\nbreak.jsonl", "résumé.jsonl"]
    drops = [Drop("0", place, "empty_text") for place in places]
    write_drops(tmp_path / "drops.parquet", drops)


def test_names_that_differ_in_unicode_form_alone(tmp_path: Path) -> None:
    composed, parted = (unicodedata.normalize(form, "é.jsonl") for form in ("NFC", "NFD"))
    _write(tmp_path / "one" / parted)
    assert sources.find(f"one/{composed}", tmp_path).files[0].place == composed
    assert _places(tmp_path / "one") == [composed]
    _write(tmp_path / "two" / parted)
    _write(tmp_path / "two" / composed, 2)
    assert sorted(_places(tmp_path / "two")) == [composed, f"{composed} (2)"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="everything can be read by root")
def test_a_file_that_may_not_be_read_stops_the_reading(tmp_path: Path) -> None:
    _write(tmp_path / "a.jsonl").chmod(0)
    with pytest.raises(SystemRefusal, match="permission was denied"):
        list(sources.read(Data(source="."), tmp_path))


def test_a_file_that_is_still_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _write(tmp_path / "a.jsonl", 50)
    real = os.fstat

    def growing(descriptor: int) -> os.stat_result:
        with path.open("a") as file:
            file.write("{}\n")
        return real(descriptor)

    monkeypatch.setattr(unpack.os, "fstat", growing)
    with pytest.raises(DataError, match="changed while it was read"):
        read_file(path, "a.jsonl")


@pytest.mark.parametrize(
    ("name", "content", "outcome"),
    [
        ("a.jsonl", b'{"text": "' + b"x" * 100_000_000 + b'"}\n', 1),
        ("a.csv", b"a,b\n1,\x002\n", 1),
        ("a.csv", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(range(256)), "neither UTF-8|NUL"),
        ("a.csv", b"a,,b,\n1,2,3,4\n", 1),
        ("a.csv", b"a,a\n1,2\n", "names a column twice"),
        ("a.jsonl", b'{"a": {"b": [1, {"c": null}]}}\n', 1),
        ("a.jsonl", b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}\n", "nested too deeply|broken_json"),
    ],
    ids=["100 MB line", "NUL", "binary", "empty names", "twice", "nested", "too deep"],
)
def test_odd_contents(tmp_path: Path, name: str, content: bytes, outcome: int | str) -> None:
    (tmp_path / name).write_bytes(content)
    if isinstance(outcome, str):
        with pytest.raises(DataError, match=outcome):
            read_file(tmp_path / name, name)
    else:
        assert len(read_file(tmp_path / name, name).items) == outcome
