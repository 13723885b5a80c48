"""The hub path against a real server, in a process of its own: huggingface_hub reads its settings when imported."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from models import toy_model
from models.hub_server import COMMIT, Hub, serve

FETCH = """
import sys
from setsail.base.errors import ModelError
from setsail.base.log import Log
from setsail.models import hub
try:
    commit = hub.resolve_commit(sys.argv[1])
    print(commit.resolved, hub.fetch(sys.argv[1], commit, Log(quiet=True)), sep="\\n")
except ModelError as error:
    sys.exit(str(error))
"""
IMPORT = """
import sys
from pathlib import Path
from setsail.base.log import Log
from setsail.models.load import import_base
info = import_base(sys.argv[1], Path(sys.argv[2]), Log(quiet=True))
print(info.source.kind, info.source.fingerprint, info.licence)
"""
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = toy_model.write_folder(tmp_path_factory.mktemp("repo"))
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    (folder / "modeling_evil.py").write_text("raise SystemExit")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.safetensors").write_bytes(b"not wanted")
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def start(hub: Hub, script: str, *arguments: str, offline: bool = False) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        environment |= {
            "HF_ENDPOINT": hub.endpoint,
            "HF_HOME": str(tmp_path / "hf"),
            "HF_HUB_OFFLINE": str(int(offline)),
        }
        environment |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "NO_PROXY": "127.0.0.1"}
        return subprocess.run(
            [sys.executable, "-c", script, *arguments], env=environment, capture_output=True, text=True, timeout=120
        )

    return start


def test_a_model_is_fetched_once_and_only_what_is_needed(repository: Path, run: Run) -> None:
    with serve(Hub({"org/toy": repository})) as hub:
        first = run(hub, FETCH, "org/toy@v1")
        assert first.returncode == 0, first.stderr
        commit, folder = first.stdout.split()
        asked = len(hub.files)
        second = run(hub, FETCH, "org/toy@v1")
    assert commit == COMMIT and second.stdout == first.stdout and len(hub.files) == asked
    found = {path.name for path in Path(folder).iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= found
    assert not {"pytorch_model.bin", "modeling_evil.py", "onnx"} & found
    assert (Path(folder) / "model.safetensors").read_bytes() == (repository / "model.safetensors").read_bytes()


def test_what_was_fetched_is_found_without_the_hub(repository: Path, run: Run) -> None:
    with serve(Hub({"org/toy": repository})) as hub:
        first = run(hub, FETCH, "org/toy")
    gone, offline = run(hub, FETCH, "org/toy"), run(hub, FETCH, "org/toy", offline=True)
    assert gone.stdout == offline.stdout == first.stdout != ""


def test_a_broken_download_goes_on_where_it_stopped(run: Run, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.mkdir()
    (large / "config.json").write_text("{}")
    content = random.Random(1).randbytes(25_000_000)  # several of the pieces of 10 MB that reach the disk
    (large / "model.safetensors").write_bytes(content)
    with serve(Hub({"org/large": large}, break_offs=1)) as hub:
        done = run(hub, FETCH, "org/large")
        assert done.returncode == 0, done.stderr
    starts = [int(asked.removeprefix("bytes=").split("-")[0]) for asked in hub.ranges]
    assert starts and min(starts) > 0
    assert (Path(done.stdout.split()[1]) / "model.safetensors").read_bytes() == content


@pytest.mark.slow
def test_an_import_from_the_hub_is_a_whole_folder(repository: Path, run: Run, tmp_path: Path) -> None:
    with serve(Hub({"org/toy": repository})) as hub:
        done = run(hub, IMPORT, "org/toy", str(tmp_path / "out"))
    assert done.stdout.split() == ["hub", COMMIT, "mit"], done.stderr
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_errors_say_what_is_wrong(repository: Path, run: Run, tmp_path: Path) -> None:
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    shutil.copyfile(repository / "config.json", pickled / "config.json")
    (pickled / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    hub = Hub({"org/toy": repository, "org/pickled": pickled, "org/gated": repository}, gated=frozenset({"org/gated"}))
    expected = {
        "org/none": 'the hub has no model "org/none"',
        "org/toy@v9": 'no revision "v9"',
        "org/gated": '"org/gated" is gated',
        "org/pickled": "only pickle weights",
        "org/a--b": "cannot be the name",
    }
    with serve(hub):
        for name, words in expected.items():
            failed = run(hub, FETCH, name)
            assert words in failed.stderr and "Traceback" not in failed.stderr, (name, failed.stderr)
    assert "the hub cannot be reached" in run(hub, FETCH, "org/other").stderr
    assert "HF_HUB_OFFLINE is set" in run(hub, FETCH, "org/other", offline=True).stderr
