"""The tokens stage: the same bytes from any number of processes, recognised, rebuilt when damaged, killed at will."""

from __future__ import annotations

import io
import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from setsail.base.artifact import Artifact
from setsail.base.errors import ModelError, SystemRefusal
from setsail.base.log import Log
from setsail.base.run import Run
from setsail.data import row as row_file
from setsail.data.row import Row, num_row_groups, write_rows
from setsail.stages.rows.tokenise import ACCOUNT, Account, Rendering, examples_from
from setsail.stages.rows.tokens import account_of
from setsail.tokens.pack import Example
from setsail.tokens.store import FILES, HEADER, open_store

from .token_port import RECIPE, Port, open_port, text_rows


@pytest.fixture
def port(tmp_path: Path) -> Port:
    return open_port(tmp_path, text_rows(230))


def bytes_of(tokens: Artifact) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in tokens.path.iterdir() if path.name != "manifest.json"}


def content(example: Example) -> tuple[object, ...]:
    return example.ids.tolist(), example.loss_mask.tolist(), example.row_id, example.change


def test_the_number_of_processes_does_not_change_a_byte(tmp_path: Path) -> None:
    made = []
    for num_processes in (1, 2, 3):
        port = open_port(tmp_path / str(num_processes), text_rows(230))
        assert num_row_groups(port.data.file("train.parquet")) == 6
        tokens = port.make(num_processes=num_processes)
        made.append(bytes_of(tokens))
        account = Account()
        expected = examples_from(text_rows(230), port.tokenizer, Rendering("text", 64, "split"), account)
        assert list(map(content, open_store(tokens.path))) == list(map(content, expected))
        assert account_of(tokens) == account
        assert account.num_cut > 0 and account.left_out == {"unusable": 5}
    assert made[0] == made[1] == made[2]
    assert set(made[0]) == {*FILES, HEADER, ACCOUNT}


def test_only_what_decides_the_tokens_makes_them_anew(port: Port) -> None:
    first = port.make()
    stamps = {path: path.stat().st_mtime_ns for path in first.path.iterdir()}
    again = port.make("finetune.learning_rate=0.5", "finetune.epochs=9", "seed=7")
    assert again.path == first.path
    assert {path: path.stat().st_mtime_ns for path in first.path.iterdir()} == stamps
    assert port.make("finetune.context=32").id != first.id
    assert port.make("data.overlong=cut").id != first.id
    assert Run(port.folder / "run").current() == {"tokens": port.make("data.overlong=cut").path.name}
    assert first.manifest.parents == {"base": port.base.id, "data": port.data.id}


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
@pytest.mark.parametrize("name", [*FILES, HEADER, ACCOUNT])
def test_what_is_damaged_is_named_and_made_again(port: Port, name: str, damage: str) -> None:
    good = bytes_of(port.make())
    file = port.make().path / name
    if damage == "gone":
        file.unlink()
    elif not good[name]:  # texts have no labels: what is empty is damaged by what is added
        file.write_bytes(b"x")
    else:
        file.write_bytes(good[name][:-1] + (b"" if damage == "cut" else bytes([good[name][-1] ^ 1])))
    stream = io.StringIO()
    assert bytes_of(port.make(log=Log(stream=stream))) == good
    assert f'! tokens: "{name}"' in stream.getvalue() and "made again" in stream.getvalue()


BOOM = "{% for m in messages %}{{ m.content if m.content != 'boom' else 1 // 0 }}{{ eos_token }}{% endfor %}"


@pytest.mark.parametrize("num_processes", [1, 2])
def test_an_error_names_the_row(tmp_path: Path, num_processes: int) -> None:
    rows = []
    for number in range(100):
        answer = "boom" if number == 77 else "an answer"
        messages = ({"role": "user", "content": f"question {number}"}, {"role": "assistant", "content": answer})
        rows.append(Row(f"{number:016x}", messages, "", "", f"rows.jsonl:{number + 1}"))
    port = open_port(tmp_path, rows, recipe=RECIPE.replace("task: text", "task: chat"), template=BOOM)
    with pytest.raises(ModelError, match="division") as raised:
        port.make(num_processes=num_processes)
    assert raised.value.place is not None
    assert f"row {77:016x} of rows.jsonl:78" in raised.value.place
    assert not [path for path in (tmp_path / "run").glob("tokens-*") if path.suffix != ".partial"]


def shards_in(port: Port) -> list[Path]:
    """The shards that are finished."""
    return sorted(port.draft.glob("shards-*/??????"))


def workers_here() -> list[psutil.Process]:
    """The processes that tokenise; not those that other tests have left, a fork server or a tracker of resources."""
    return [child for child in psutil.Process().children() if "tokenise" in " ".join(child.cmdline())]


def test_a_worker_that_is_killed_is_told_and_finished_shards_are_kept_if_they_are_whole(tmp_path: Path) -> None:
    rows = text_rows(15_000)  # enough that the others are far from done when one is killed
    port = open_port(tmp_path, rows, group_rows=200)

    def kill_a_worker() -> None:
        while len(shards_in(port)) < 3:
            time.sleep(0.005)
        workers_here()[0].kill()

    thread = threading.Thread(target=kill_a_worker)
    thread.start()
    with pytest.raises(SystemRefusal, match="killed by SIGKILL"):
        port.make(num_processes=2)
    thread.join()
    assert not workers_here()
    finished = shards_in(port)
    assert 3 <= len(finished) < 75
    good = (finished[0] / "ids.bin").read_bytes()
    (finished[0] / "ids.bin").write_bytes(bytes([good[0] ^ 1]) + good[1:])
    (finished[1] / "account.json").write_text("")
    stream = io.StringIO()
    tokens = port.make(num_processes=2, log=Log(stream=stream))
    said = stream.getvalue()
    assert f"{len(finished) - 2} of 75 shards were tokenised by an earlier attempt" in said
    assert '! tokens: "ids.bin" was changed or damaged' in said
    assert "! tokens: its account.json cannot be read" in said
    assert bytes_of(open_port(tmp_path / "alone", rows, group_rows=15_000).make()) == bytes_of(tokens)


@pytest.mark.slow
@pytest.mark.parametrize("num_processes", [1, 2])
def test_killed_at_random_moments_and_started_again(tmp_path: Path, num_processes: int) -> None:
    rows = text_rows(3000)
    expected = bytes_of(open_port(tmp_path / "whole", rows).make())
    port = open_port(tmp_path / "killed", rows, group_rows=100)
    command = [sys.executable, "-m", "stages.token_port", str(port.folder), str(num_processes)]
    chance = random.Random(5)
    standing: list[Path] = []
    kills = 0
    while not standing:
        before = written(port)
        running = subprocess.Popen(command, cwd=Path(__file__).parent.parent, stderr=subprocess.PIPE)
        while running.poll() is None and written(port) == before:
            time.sleep(0.002)
        time.sleep(chance.uniform(0.0, 0.05))
        workers = psutil.Process(running.pid).children() if running.poll() is None else []
        running.send_signal(signal.SIGKILL)
        _, errors = running.communicate()
        assert running.returncode in (0, -signal.SIGKILL), errors.decode()
        assert not psutil.wait_procs(workers, timeout=30)[1], "a worker outlived its parent"
        kills += running.returncode != 0
        standing = [path for path in port.draft.parent.glob("tokens-*") if path.suffix != ".partial"]
    assert kills > 2
    tokens = port.make()
    assert tokens.path == standing[0] and bytes_of(tokens) == expected
    assert not list(port.draft.parent.glob("*.partial"))


def written(port: Port) -> tuple[int, float]:
    """What changes when a shard is finished, and when the joined store is begun."""
    joined = port.draft / "ids.bin"
    return len(shards_in(port)), joined.stat().st_mtime if joined.exists() else 0.0


def test_shards_of_rows_in_other_groups_are_not_taken(port: Port) -> None:
    other = port.draft / "shards-000000000000" / "000000"
    other.mkdir(parents=True)
    (other / "store.json").write_text("{}")
    assert len(open_store(port.make().path)) > 200


def test_a_store_that_was_only_not_published_is_taken(port: Port) -> None:
    tokens = port.make()
    good = bytes_of(tokens)
    (tokens.path / "manifest.json").unlink()
    tokens.path.rename(port.draft)
    (port.draft / "shards-000000000000").mkdir()
    stamp = (port.draft / "ids.bin").stat().st_mtime_ns
    again = port.make()
    assert bytes_of(again) == good and (again.path / "ids.bin").stat().st_mtime_ns == stamp
    (again.path / "manifest.json").unlink()
    again.path.rename(port.draft)
    (port.draft / "ids.bin").write_bytes(b"")
    assert bytes_of(port.make()) == good


def test_a_row_group_holds_a_bounded_amount_of_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_file, "GROUP_CHARACTERS", 1000)
    rows = text_rows(100)
    write_rows(tmp_path / "rows.parquet", rows)
    groups = [
        list(row_file.iterate_rows(tmp_path / "rows.parquet", number))
        for number in range(num_row_groups(tmp_path / "rows.parquet"))
    ]
    assert [row for group in groups for row in group] == rows == row_file.read_rows(tmp_path / "rows.parquet")
    assert len(groups) > 10 and all(sum(len(row.text) for row in group[:-1]) < 1000 for group in groups)


def test_an_account_names_the_first_and_counts_all() -> None:
    many = Account(2000, 1500, [str(n) for n in range(1000)], left_out=Counter(unusable=3), first_left_out=["a"])
    total = many + Account(10, 2, ["x", "y"], Counter(overlong=1, unusable=1), ["b"])
    assert (total.num_rows, total.num_cut, len(total.cut)) == (2010, 1502, 1000)
    assert total.left_out == {"unusable": 4, "overlong": 1} and total.first_left_out == ["a", "b"]
    assert Account.from_json(json.loads(json.dumps(total.as_json()))) == total
    assert total.explain("train")[0] == "4 train rows left out: unusable; for instance a, b"
