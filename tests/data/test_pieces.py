"""Pieces: a file read in pieces holds the rows that it holds as a whole, whoever reads them."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.small_rows import pair
from setsail.base.log import Log
from setsail.base.recipe_data import Data
from setsail.data import pieces
from setsail.data.containers import Item, read_file
from setsail.data.folder import SourceFile
from setsail.data.pieces import plan, read_piece
from setsail.data.prepare import prepare
from setsail.data.summary import Summary

Prepare = Callable[..., Summary]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE_BYTES", 4096)


def in_pieces(path: Path, encoding: str = "auto") -> list[Item]:
    tasks = plan([SourceFile(path, path.name)], encoding=encoding, scratch=path.parent / "scratch")
    return [item for task in tasks for piece in task for _, read in read_piece(piece) for item in read.items]


def same(path: Path, encoding: str = "auto") -> int:
    """That a file reads alike in pieces and whole; the number of its pieces."""
    whole = list(read_file(path, path.name, encoding=encoding).items)
    assert in_pieces(path, encoding) == whole
    return len(plan([SourceFile(path, path.name)], encoding=encoding, scratch=path.parent / "scratch"))


def rows(count: int) -> list[dict[str, str]]:
    chance = random.Random(7)
    signs = 'ab ,"\n\r\n中文é'
    return [
        {"question": f"{n}?", "answer": "".join(chance.choices(signs, k=chance.randint(1, 90)))} for n in range(count)
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "utf-16", "utf-8-sig"])
@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_tables_and_lines_read_alike_in_pieces(tmp_path: Path, suffix: str, encoding: str) -> None:
    text = io.StringIO(newline="")
    if suffix == "jsonl":
        text.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows(800))
    else:
        table = csv.DictWriter(text, ["question", "answer"], delimiter="\t" if suffix == "tsv" else ",")
        table.writeheader()
        table.writerows([{name: value.replace("é", "e") for name, value in row.items()} for row in rows(800)])
    path = tmp_path / f"t.{suffix}"
    path.write_bytes(text.getvalue().encode(encoding))
    assert same(path) > 4
    packed = tmp_path / f"p.{suffix}.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert [item.origin.split(":")[1] for item in in_pieces(packed)] == [
        item.origin.split(":")[1] for item in in_pieces(path)
    ]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text('a,"\n\r;\0\udc80', max_size=40), min_size=1, max_size=60))
def test_a_broken_table_breaks_alike_in_pieces(tmp_path: Path, lines: list[str]) -> None:
    path = tmp_path / "t.csv"
    body = "\r\n".join(["question,answer", *lines, *(f"{n},{'x' * 400}" for n in range(40))])
    path.write_bytes(body.encode("utf-8", "surrogateescape"))
    try:
        whole: object = list(read_file(path, path.name).items)
    except Exception as error:  # whatever the whole file ends with, its pieces end with too
        whole = str(error)
    try:
        found: object = in_pieces(path)
    except Exception as error:
        found = str(error)
    assert found == whole


@pytest.mark.parametrize("parting", ["\n", "\n\n", "\r\n\r\n"])
def test_texts_are_cut_between_documents(tmp_path: Path, parting: str) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes(parting.join(f"Document {n}, {'word ' * (n % 30)}" for n in range(500)).encode())
    assert same(path) > 4


def test_row_groups_of_parquet_are_pieces(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.Table.from_pylist(rows(900)), path, row_group_size=50, compression="none", use_dictionary=False)
    assert same(path) > 4


def test_a_column_that_comes_late_is_understood_for_the_whole_file(prepared: Prepare, tmp_path: Path) -> None:
    lines = [pair(n) for n in range(300)]
    lines[-1] = {**lines[-1], "system": "Be brief."}
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    summary = prepared("t.jsonl")
    assert summary.num_read == 300 and not any("not used" in finding for finding in summary.findings)
    systems = [
        row["messages"][0]["role"] == "system"
        for part in summary.sizes
        for row in pq.read_table(tmp_path / "out" / f"{part}.parquet").to_pylist()
    ]
    assert sum(systems) == 1


def test_the_bytes_do_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    lines = [json.dumps(pair(n % 700)) for n in range(900)]
    (tmp_path / "t.jsonl").write_text("\n".join(lines), encoding="utf-8")
    data = Data(source="t.jsonl")
    for processes in (1, 2):
        out = tmp_path / f"out{processes}"
        prepare(data, task="chat", seed=1, base_dir=tmp_path, out=out, log=Log(quiet=True), processes=processes)
    for path in (tmp_path / "out1").iterdir():
        assert path.read_bytes() == (tmp_path / "out2" / path.name).read_bytes()
    assert {path.name for path in (tmp_path / "out1").iterdir()} == {
        *("train.parquet", "validation.parquet", "test.parquet", "dropped.parquet"),
        *("data.html", "data.md", "data.json"),
    }


KILLED = """
import os, sys
from pathlib import Path
from setsail.base.log import Log
from setsail.base.recipe_data import Data
from setsail.data import pieces, prepare, shard
pieces.PIECE_BYTES = 4096
write, made = shard._write, []
def write_or_die(*arguments):
    if len(made) == int(sys.argv[2]):
        os.kill(os.getpid(), 9)
    made.append(write(*arguments))
shard._write = write_or_die
folder, data = Path(sys.argv[1]), Data(source="t.jsonl")
prepare.prepare(data, task="chat", seed=1, base_dir=folder, out=folder / "out", log=Log(quiet=True), processes=1)
print(len(made))
"""


def test_killed_and_begun_again_it_goes_on_and_ends_alike(tmp_path: Path) -> None:
    lines = [json.dumps(pair(n)) for n in range(400)]
    (tmp_path / "t.jsonl").write_text("\n".join(lines), encoding="utf-8")

    def run(dies_at: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", KILLED, str(tmp_path), str(dies_at)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ})

    assert run(3).returncode == run(2).returncode == -signal.SIGKILL
    assert len([path for path in (tmp_path / "out" / "work" / "shards").iterdir() if not path.suffix]) == 5
    after = run(999)
    assert after.returncode == 0, after.stderr
    data = Data(source="t.jsonl")
    prepare(data, task="chat", seed=1, base_dir=tmp_path, out=tmp_path / "never", log=Log(quiet=True), processes=1)
    for path in (tmp_path / "never").iterdir():
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()
    num_pieces = len(plan([SourceFile(tmp_path / "t.jsonl", "t.jsonl")], encoding="auto", scratch=tmp_path))
    assert int(after.stdout) == num_pieces - 5
