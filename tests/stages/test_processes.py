"""The command under torchrun: two processes train, and what they leave is what one leaves."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from setsail.base.recipe_file import load_recipe
from setsail.base.run import Run
from setsail.stages.voyage import sail
from setsail.train.journal import read_journal

from .conftest import write_port, write_stories

SHORT = ["pretrain.epochs=1", "pretrain.watch.samples=[]", "pretrain.optimizer=adamw"]


# The command, which says at the very end whether this process is still in the group.
WATCHED = """
import atexit, sys
import torch.distributed
from setsail.cli import main
atexit.register(lambda: print("IN" if torch.distributed.is_initialized() else "OUT", file=sys.stderr))
main()
"""


def torchrun(folder: Path, *arguments: str, command: Sequence[str] = ("-m", "setsail")) -> CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run([*launcher, *command, *arguments], cwd=folder, capture_output=True, text=True)


def settings_of(*settings: str) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


def files_of(run: Run) -> set[str]:
    """Every file of a run, without the identities in the folders' names."""
    paths = (path.relative_to(run.path) for path in run.path.rglob("*") if path.is_file())
    return {"/".join((path.parts[0].split("-")[0], *path.parts[1:])) for path in paths}


def compare(folder: Path, stage: str, recipe: str, settings: list[str], done: CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr
    name = load_recipe(folder / recipe).recipe.name
    run, alone = Run(folder / "runs" / name), Run(folder / "alone" / name)
    sail(folder / recipe, settings, folder / "alone", until=stage)
    assert files_of(run) == files_of(alone)
    # One process alone speaks: the folder on stdout, each line once on stderr.
    assert Path(done.stdout.strip()).name == run.artifact(stage).path.name
    assert done.stderr.count(f"▸ {stage}") == done.stderr.count("processes   2,") == done.stderr.count("done in") == 1
    ours, theirs = (read_journal(each.artifact(stage).file("steps.jsonl")) for each in (run, alone))
    assert len(ours) == len(theirs) > 3
    for one, other in zip(ours, theirs, strict=True):
        assert (one["step"], one["num_tokens"], one["num_supervised"], one["learning_rate"]) == (
            other["step"],
            other["num_tokens"],
            other["num_supervised"],
            other["learning_rate"],
        )
        assert one["loss_nats"] == pytest.approx(other["loss_nats"], rel=0.02)  # in bf16


def test_pretrain_under_torchrun(tmp_path: Path) -> None:
    """One micro-batch a step, which is cut in two."""
    write_stories(tmp_path)
    done = torchrun(tmp_path, "pretrain", "new.yaml", *settings_of(*SHORT))
    compare(tmp_path, "pretrain", "new.yaml", SHORT, done)


@pytest.mark.slow
def test_finetune_sharded_under_torchrun(tmp_path: Path) -> None:
    write_port(tmp_path)
    settings = ["finetune.parallel=sharded", "finetune.watch.patience=1"]
    done = torchrun(tmp_path, "finetune", "toy.yaml", *settings_of(*settings))
    compare(tmp_path, "finetune", "toy.yaml", settings, done)


@pytest.mark.slow
def test_every_process_leaves_the_group_before_it_ends(tmp_path: Path) -> None:
    """One that does not is at times aborted by gloo's threads, after all has been done."""
    write_stories(tmp_path)
    (tmp_path / "watched.py").write_text(WATCHED)
    done = torchrun(tmp_path, "pretrain", "new.yaml", *settings_of(*SHORT), command=["watched.py"])
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert (lines.count("OUT"), lines.count("IN")) == (2, 0)


@pytest.mark.slow
def test_a_slip_in_the_recipe_is_told_once(tmp_path: Path) -> None:
    write_stories(tmp_path)
    done = torchrun(tmp_path, "pretrain", "new.yaml", "--set", "pretrain.parallel=both")
    assert done.returncode == 1  # torchrun's own; each process left with 2
    assert done.stderr.count("recipe error") == 1 and done.stderr.count("exitcode  : 2") >= 1
    assert done.stdout == ""
