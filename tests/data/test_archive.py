"""Archives are read in place and within bounds; what is hostile is refused before it is unpacked."""

from __future__ import annotations

import bz2
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.file_makers import tar_of, zip_of
from setsail.base.errors import DataError
from setsail.base.recipe_data import Data
from setsail.data import sources
from setsail.data.containers import content_of, read_file
from setsail.data.readers import archive
from setsail.data.row import Drop, Record

JSONL = b'{"prompt": "q", "completion": "a"}\n'
NAME = st.text("abc中文-1", min_size=1, max_size=6)


def _read(name: str, data: bytes) -> tuple[Record | Drop, ...]:
    return content_of(data, name, name).items


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(NAME, st.integers(1, 4), min_size=1, max_size=6), st.sampled_from(["a.zip", "a.tar"]))
def test_every_record_inside_comes_out_once_under_its_own_place(files: dict[str, int], name: str) -> None:
    maker = zip_of if name == "a.zip" else tar_of
    items = _read(name, maker({f"in/{stem}.jsonl": JSONL * count for stem, count in files.items()}))
    expected = [f"{name}/in/{stem}.jsonl:{n}" for stem in sorted(files) for n in range(1, files[stem] + 1)]
    assert sorted(item.origin for item in items) == sorted(expected)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_tar_however_compressed(tmp_path: Path, mode: str) -> None:
    suffixes = {"w": [".tar"], "w:gz": [".tgz", ".tar.gz"], "w:bz2": [".tbz2", ".tar.bz2"], "w:xz": [".txz", ".tar.xz"]}
    for suffix in suffixes[mode]:
        path = tmp_path / f"a{suffix}"
        path.write_bytes(tar_of({"a.jsonl": JSONL}, mode))
        assert [item.origin for item in read_file(path, path.name).items] == [f"a{suffix}/a.jsonl:1"]


@pytest.mark.parametrize(("suffix", "pack"), [("bz2", bz2.compress), ("xz", lzma.compress), ("zst", None)])
def test_single_compressed_files(tmp_path: Path, suffix: str, pack: object) -> None:
    packed = pack(JSONL) if callable(pack) else bytes(pa.compress(JSONL, "zstd", asbytes=True))
    (tmp_path / f"a.jsonl.{suffix}").write_bytes(packed)
    assert len(read_file(tmp_path / f"a.jsonl.{suffix}", "a").items) == 1
    (tmp_path / f"b.jsonl.{suffix}").write_bytes(packed[:-6])
    with pytest.raises(DataError, match=r"broken or cut short|holds no rows|is empty"):
        read_file(tmp_path / f"b.jsonl.{suffix}", "b")


def test_what_is_not_read_is_counted() -> None:
    inside = {"a.jsonl": JSONL, "README.md": b"# About", "logo.png": b"x", "empty.csv": b" \n", ".DS_Store": b"x"}
    drops = {item.origin: item.reason for item in _read("a.zip", zip_of(inside)) if isinstance(item, Drop)}
    assert drops == {
        "a.zip/README.md": "not_a_data_file",
        "a.zip/logo.png": "not_a_data_file",
        "a.zip/empty.csv": "empty_text",
    }
    items = _read("a.tar", tar_of({"a.jsonl": JSONL}, links={"b.jsonl": "/etc/passwd"}))
    assert [(item.origin, item.reason) for item in items if isinstance(item, Drop)] == [("a.tar/b.jsonl", "not_a_file")]


def test_names_lead_nowhere_and_old_chinese_names_are_read(tmp_path: Path) -> None:
    items = _read("a.zip", zip_of({"../../x.jsonl": JSONL, "/abs.jsonl": JSONL}))
    assert {item.origin for item in items} == {"a.zip/../../x.jsonl:1", "a.zip//abs.jsonl:1"}
    assert not list(tmp_path.rglob("*"))
    data = zip_of({"XXXX.jsonl": JSONL}).replace(b"XXXX", "工单".encode("gb18030"))
    assert [item.origin for item in _read("a.zip", data)] == ["a.zip/工单.jsonl:1"]


def test_two_files_of_one_name_are_told_apart() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as file:
        for _ in range(2):
            about = tarfile.TarInfo("a.jsonl")
            about.size = len(JSONL)
            file.addfile(about, io.BytesIO(JSONL))
    assert len({item.origin for item in _read("a.tar", out.getvalue())}) == 2


def test_the_files_inside_are_parts_with_formats_and_splits_of_their_own(tmp_path: Path) -> None:
    inside = {"train.jsonl": JSONL * 2, "test.csv": b"question,answer\nq,a\n", "inner.zip": zip_of({"a.jsonl": JSONL})}
    (tmp_path / "a.zip").write_bytes(zip_of(inside))
    read = dict(sources.read(Data(source="a.zip"), tmp_path))
    assert list(read) == ["a.zip/inner.zip/a.jsonl", "a.zip/test.csv", "a.zip/train.jsonl"]
    parts = {place: {item.part for item in c.items if isinstance(item, Record)} for place, c in read.items()}
    assert parts == {"a.zip/inner.zip/a.jsonl": {""}, "a.zip/test.csv": {"test"}, "a.zip/train.jsonl": {"train"}}


def _overlapping() -> bytes:
    """A zip whose two hundred entries are all the same packed bytes."""
    body = zlib.compress(b" " * 1_000_000)[2:-4]
    crc = zlib.crc32(b" " * 1_000_000)
    head = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 0, crc, len(body), 1_000_000, 7, 0)
    local = b"PK\x03\x04" + head + b"a.jsonl" + body
    entry = b"PK\x01\x02" + struct.pack("<H", 20) + head[:-2] + struct.pack("<HHHHII", 0, 0, 0, 0, 0, 0) + b"a.jsonl"
    directory = entry * 200
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 200, 200, len(directory), len(local), 0)
    return local + directory + end


def _locked() -> bytes:
    data = bytearray(zip_of({"a.jsonl": JSONL}))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset] |= 1
    return bytes(data)


def _sparse() -> bytes:
    about = tarfile.TarInfo("a.jsonl")
    about.size = 512
    about.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.size": str(1 << 50)}
    about.pax_headers |= {"GNU.sparse.map": f"{(1 << 50) - 1},1", "GNU.sparse.name": "a.jsonl"}
    return about.tobuf(tarfile.PAX_FORMAT) + bytes(512 * 3)


def _nested(depth: int) -> bytes:
    data = zip_of({"a.jsonl": JSONL})
    for _ in range(depth):
        data = zip_of({"inner.zip": data})
    return data


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.zip", zip_of({"a.jsonl": b"\0" * (64 << 20)}), "more than 100 times its size"),
        ("a.zip", _overlapping(), "more than 4 GiB|overlap"),
        ("a.zip", _locked(), "has a password"),
        ("a.zip", _nested(2), "nested more than 2 deep"),
        ("a.tar", _sparse(), "more than 4 GiB|has holes|is broken"),
        ("a.zip", zip_of({"logo.png": b"x"}), "holds no data file"),
        ("a.zip", zip_of({"a.jsonl": JSONL})[:-30], "is broken"),
        ("a.zip", b"nothing of the kind", "is broken"),
        ("a.tar", tar_of({"a.jsonl": JSONL * 99})[:700], "is broken"),
        ("a.zip", zip_of({"a.jsonl.xz": lzma.compress(b"\0" * (32 << 20))}), "decompression bomb"),
    ],
)
def test_what_is_hostile_or_broken_is_refused(name: str, data: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        _read(name, data)
    assert caught.value.place and caught.value.hint


def test_the_bounds_hold_for_all_that_is_nested() -> None:
    assert len(_read("a.zip", _nested(1))) == 1
    many = zip_of({f"{n}.jsonl": JSONL for n in range(4)})
    both = zip_of({"a.zip": many, "b.zip": many})
    for budget, words in (
        (archive.Budget(1 << 30, 7), "more than"),
        (archive.Budget(900, 100), "unpacks to more than"),
    ):
        with pytest.raises(DataError, match=words):
            list(archive.parts(both, "a.zip", budget=budget))
    assert len(list(archive.parts(both, "a.zip", budget=archive.Budget(1 << 30, 10)))) == 8


def test_a_zip_at_the_end_of_a_tar_is_not_taken_for_the_whole() -> None:
    items = _read("a.tar", tar_of({"a.jsonl": JSONL, "z.zip": zip_of({"b.jsonl": JSONL})}))
    assert {item.origin for item in items} == {"a.tar/a.jsonl:1", "a.tar/z.zip/b.jsonl:1"}


def test_an_archive_made_by_another_program_is_read() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_LZMA) as file:
        file.writestr("a.jsonl", JSONL)
    assert len(_read("a.zip", out.getvalue())) == 1
