"""Data sets of a hub, against a real server, in another process: the libraries read their settings when imported."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.dataset_hub import COMMIT, DataSetHub, serve
from setsail.base.errors import DataError
from setsail.base.recipe_data import Data
from setsail.data import hub_source, sources
from setsail.data.hub_source import HubDataSet, parse

READ = """
import json, sys
from pathlib import Path
from setsail.base.errors import SetsailError
from setsail.base.recipe_data import Data
from setsail.data import sources
here = Path(sys.argv[1])
for source in sys.argv[2:]:
    data = Data(source=source)
    try:
        parts = [(place, [(item.origin, item.part, dict(item.fields)) for item in contents.items])
                 for place, contents in sources.read(data, here)]
        print(json.dumps([sources.fingerprint(data, here), parts, sources.not_read(data, here)]))
    except SetsailError as error:
        print(json.dumps(str(error)))
"""
ROWS = [{"prompt": f"q{n}", "completion": f"答{n}"} for n in range(3)]
CONFIGS = "---\nconfigs:\n- config_name: en\n  data_files: en.jsonl\n- config_name: zh\n  data_files: zh.jsonl\n---\n"
LICENCES = """
import json, sys
from dataclasses import astuple
from pathlib import Path
from setsail.base.recipe_data import Data
from setsail.data.licence import licence_of
for source in sys.argv[2:]:
    print(json.dumps(astuple(licence_of(Data(source=source), Path(sys.argv[1])))))
"""
FETCH = """
import json, sys
from pathlib import Path
from setsail.data import hub_source, pieces
from setsail.data.pieces import plan, read_piece
hub_source._GROUP_BYTES, hub_source._BATCH_ROWS, pieces.PIECE_BYTES = 20_000, 100, 50_000
files = hub_source.fetch(sys.argv[2], Path(sys.argv[1]) / "kept")
tasks = plan(files, encoding="auto", scratch=Path(sys.argv[1]) / "unpacked")
read = [(place, item.origin, item.fields) for task in tasks for piece in task
        for place, contents in read_piece(piece) for item in contents.items]
assert [origin for _, origin, _ in read] == [f"hf:org/large#train:{n}" for n in range(1, 2001)]
assert [fields for _, _, fields in read] == [{"text": f"row {n} " + "x" * 90} for n in range(2000)]
print(sum(map(len, tasks)))
"""
Run = Callable[..., list[Any]]


def _parquet(rows: list[dict[str, object]]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


@pytest.fixture(scope="module")
def hub() -> Iterator[DataSetHub]:
    classes = "---\ndataset_info:\n  features:\n  - name: text\n    dtype: string\n  - name: label\n    dtype:\n"
    classes += "      class_label:\n        names:\n          '0': late\n          '1': broken\n---\n"
    data_sets = {
        "org/set": {
            "README.md": b"---\nlicense: mit\n---\n",
            "data/train-00000-of-00002.parquet": _parquet([dict(row) for row in ROWS[:2]]),
            "data/train-00001-of-00002.parquet": _parquet([dict(row) for row in ROWS[2:]]),
            "data/test-00000-of-00001.parquet": _parquet([dict(row) for row in ROWS]),
        },
        "org/two": {
            "README.md": CONFIGS.encode(),
            "en.jsonl": b'{"text":"a"}\n',
            "zh.jsonl": '{"text":"你"}\n'.encode(),
        },
        "org/classes": {
            "README.md": classes.encode(),
            "train.jsonl": b'{"text": "x", "label": 1}\n{"text": "y", "label": -1}\n',
        },
        "org/large": {
            "README.md": b"",
            "train.jsonl": "".join(f'{{"text": "row {n} {"x" * 90}"}}\n' for n in range(2000)).encode(),
        },
        "org/script": {"script.py": b"raise SystemExit", "README.md": b""},
    }
    with serve(DataSetHub(data_sets, frozenset({"org/gated"}))) as running:
        yield running


@pytest.fixture
def run(hub: DataSetHub, tmp_path: Path) -> Run:
    def start(*named: str, offline: bool = False, script: str = READ) -> list[Any]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        environment |= {
            "HF_ENDPOINT": hub.endpoint,
            "HF_HOME": str(tmp_path / "hf"),
            "HF_HUB_OFFLINE": str(int(offline)),
        }
        environment |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "NO_PROXY": "127.0.0.1"}
        command = [sys.executable, "-c", script, str(tmp_path), *named]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return start


def test_a_data_set_is_read_from_one_commit_in_its_splits(hub: DataSetHub, run: Run) -> None:
    hub.asked.clear()
    whole, plain, named, classes = run("hf:org/set", "org/set", "hf:org/two/zh@v1#train", "hf:org/classes")
    identity, parts, said = whole
    by_place = dict(parts)
    assert set(by_place) == {"hf:org/set#train", "hf:org/set#test"} and said == []
    assert by_place["hf:org/set#train"] == [[f"hf:org/set#train:{n}", "train", row] for n, row in enumerate(ROWS, 1)]
    assert {part for _, part, _ in by_place["hf:org/set#test"]} == {"test"}
    files = [line for line in hub.asked if ".parquet" in line]
    assert files and all(f"/resolve/{COMMIT}/" in line for line in files)
    assert plain[0] == identity and "read from the hub, as data.source: hf:org/set" in plain[2][0]
    assert named[1] == [["hf:org/two/zh#train", [["hf:org/two/zh#train:1", "", {"text": "你"}]]]]
    labels = [fields["label"] for _, _, fields in classes[1][0][1]]
    assert labels == ["broken", None], "numbers of classes are read as their names"


def test_what_cannot_be_read_is_said_in_words(run: Run) -> None:
    refused = {
        "hf:org/none": 'the hub has no data set "org/none"',
        "org/none": 'the hub has no data set "org/none"',
        "hf:org/gated": 'the data set "org/gated" is gated',
        "hf:org/set@v9": 'has no revision "v9"',
        "hf:org/set#dev": 'has no split "dev"',
        "hf:org/two": "has 2 configurations",
        "hf:org/two/jp": "has no configuration 'jp'",
        "hf:org/script": "never their code",
    }
    for words, said in zip(refused.values(), run(*refused), strict=True):
        assert isinstance(said, str) and words in said


def test_a_large_split_is_prepared_in_pieces_and_fetched_once(hub: DataSetHub, run: Run) -> None:
    hub.asked.clear()
    (pieces,) = run("hf:org/large", script=FETCH)
    content = f"GET /datasets/org/large/resolve/{COMMIT}/train.jsonl"
    first = hub.asked.count(content)
    hub.asked.clear()
    assert pieces > 3 and run("hf:org/large", script=FETCH) == [pieces]
    assert hub.asked.count(content) < first  # the library still looks into it for the names of splits


def test_the_card_states_the_licence(run: Run) -> None:
    stated = run("hf:org/set", "org/set", "hf:org/two", "hf:org/script", script=LICENCES)
    assert stated == [["mit", "README.md"]] * 2 + [["", ""]] * 2


def test_offline_nothing_is_asked(hub: DataSetHub, run: Run) -> None:
    hub.asked.clear()
    (said,) = run("hf:org/set", offline=True)
    assert "HF_HUB_OFFLINE is set" in said and not hub.asked


def test_names_and_paths_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse("hf:o/n/c@v1#train") == HubDataSet("o/n", "c", "v1", "train")
    assert parse("hf:o/n") == HubDataSet("o/n", "", "", "")
    for wrong in ("hf:name", "hf:a/b/c/d", "hf:../x", "hf:"):
        with pytest.raises(DataError, match="not the name of a data set"):
            parse(wrong)
    (tmp_path / "data").mkdir()
    for source, is_hub in (("org/set", True), ("data/set", False), ("org/set.csv", False), ("hf:data/set", True)):
        assert sources.is_hub(Data(source=source), tmp_path) == is_hub
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError) as caught:
        hub_source.fetch("hf:org/set", tmp_path)
    assert caught.value.hint == "pip install 'setsail[hub]'"
