"""Voyages that are killed at random until they arrive, each beside one never stopped; prints what came out as JSON.

A program of its own, with one thread: a forked child could not use the threads of its parent.
usage: killed_voyages.py METHOD FOLDER NUM_VOYAGES SEED
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from faults import fault_at
from toy_training import PackedRow, toy_course, toy_steps, voyage

from setsail.train.journal import read_journal
from setsail.train.watch import Interrupted

NUM_STEPS, NUM_MICRO = 7, 4


class Fuse:
    """Kills the process when the given number of micro-batches has been looked at."""

    def __init__(self, left: int) -> None:
        self.left = left

    def burn(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class FusedRow:
    """A packed row that burns the fuse when the loop takes its positions, which is once a micro-batch."""

    def __init__(self, row: PackedRow, fuse: Fuse) -> None:
        self._row, self._fuse = row, fuse

    @property
    def positions(self):
        self._fuse.burn()
        return self._row.positions

    def __getattr__(self, name: str):
        return getattr(self._row, name)


def sail(folder: Path, method: str, fuse: Fuse) -> None:
    steps = [[FusedRow(row, fuse) for row in step] for step in toy_steps(NUM_STEPS, NUM_MICRO)]
    for _ in voyage(folder, method, steps, toy_course(NUM_STEPS)):
        time.sleep(0.001)


def in_child(work: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()
        except Interrupted as stopped:
            os._exit(stopped.exit_code)
        os._exit(0)
    return child


def code_of(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def result_of(folder: Path) -> dict[str, object]:
    records = read_journal(folder / "steps.jsonl")
    return {
        "steps": [[record["step"], record["loss_hex"], record["grad_norm_hex"]] for record in records],
        "final": (folder / "final.txt").read_text(),
        "last": max(folder.glob("checkpoints/step-*")).name,
    }


def kill_until_it_arrives(folder: Path, method: str, draw: random.Random) -> int:
    """How many kills it took: half of them between micro-batches, half at a call of the file system."""
    for kills in range(100):
        fuse, nth = (Fuse(draw.randrange(1, 16)), 0) if draw.random() < 0.5 else (Fuse(0), draw.randrange(1, 130))

        def work(fuse: Fuse = fuse, nth: int = nth) -> None:
            with fault_at(nth, lambda: os.kill(os.getpid(), signal.SIGKILL)):
                sail(folder, method, fuse)

        code = code_of(in_child(work))
        if code == 0:
            return kills
        assert code == -signal.SIGKILL, code
    raise AssertionError("it never arrives")


def ask_to_stop(folder: Path, method: str, number: int) -> int:
    """The exit code of a voyage that got a signal after its first step, which then goes on to its end."""
    child = in_child(lambda: sail(folder, method, Fuse(0)))
    while not read_journal(folder / "steps.jsonl"):
        time.sleep(0.002)
    os.kill(child, number)
    code = code_of(child)
    assert code_of(in_child(lambda: sail(folder, method, Fuse(0)))) == 0
    return code


def main(method: str, folder: Path, num_voyages: int, seed: int) -> None:
    torch.set_num_threads(1)
    draw = random.Random(seed)
    sail(folder / "reference", method, Fuse(0))
    reference = result_of(folder / "reference")
    voyages = []
    for number in range(num_voyages):
        at = folder / f"killed-{number}"
        kills = kill_until_it_arrives(at, method, draw)
        voyages.append({"kills": kills, "result": result_of(at)})
    codes = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        at = folder / f"stopped-{number}"
        codes[int(number)] = ask_to_stop(at, method, number)
        voyages.append({"kills": 0, "result": result_of(at)})
    print(json.dumps({"reference": reference, "voyages": voyages, "stopped": codes}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
