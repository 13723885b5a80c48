"""Voyages killed at random moments and started again by the same command: the models are identical, bit for bit."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from setsail.base.run import Run

from .conftest import write_pairs, write_port, write_stories

pytestmark = pytest.mark.slow

# A base that is fine-tuned; a model made new and pretrained; a base that learns from pairs of answers.
KILLS = {"toy": 20, "new": 10, "kind": 4}


def export(folder: Path, name: str, runs: str) -> subprocess.Popen[bytes]:
    settings = ["--runs", runs, "--set", "export.weights=[q8_0]"]
    command = [sys.executable, "-m", "setsail", "export", f"{name}.yaml", *settings]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def outcome(run: Run) -> tuple[dict[str, str], list[str]]:
    """The hashes of the final model's files, and the loss of each step to the last bit."""
    files = {
        f"{stage}/{name}": entry["sha256"]
        for stage in ("merged", "gguf")
        for name, entry in run.artifact(stage).manifest.files.items()
    }
    trained = "finetune" if "finetune" in run.current() else "pretrain"
    lines = run.artifact(trained).file("steps.jsonl").read_text().splitlines()
    return files, [json.loads(line)["loss_hex"] for line in lines]


@pytest.mark.parametrize("name", KILLS)
def test_killed_at_random_moments_and_started_again(name: str, tmp_path: Path) -> None:
    write_port(tmp_path)
    write_stories(tmp_path)
    write_pairs(tmp_path)
    began = time.monotonic()
    whole = export(tmp_path, name, "never-stopped")
    _, errors = whole.communicate()
    assert whole.returncode == 0, errors.decode()
    duration = time.monotonic() - began
    expected = outcome(Run(tmp_path / "never-stopped" / name))
    assert len(expected[1]) > 4

    chance = random.Random(11)
    for number in range(KILLS[name]):
        killed = False
        while not killed:  # a voyage that came home before its kill does not count: aim earlier
            shutil.rmtree(tmp_path / f"killed-{number}", ignore_errors=True)
            running = export(tmp_path, name, f"killed-{number}")
            moment = chance.uniform(0.2, 1.0) * duration
            time.sleep(moment)
            running.send_signal(signal.SIGKILL)
            running.communicate()
            killed = running.returncode == -signal.SIGKILL
            duration = duration if killed else min(duration, moment)
        again = export(tmp_path, name, f"killed-{number}")
        _, errors = again.communicate()
        assert again.returncode == 0, errors.decode()
        run = Run(tmp_path / f"killed-{number}" / name)
        assert outcome(run) == expected, f"voyage {number} came out otherwise"
        assert not list(run.path.glob("*.partial"))
