"""Voyages of two processes of which one is killed, asked to stop or fails, and that go on; prints what came of them.

A process that crashes inside torch (SIGSEGV) counts as one more that was killed: its voyage must go on to the same end.
How often that was is printed with the stack, since the test says how rare it must be.

A program of its own, with one thread: a forked child could not use the threads of its parent.
usage: killed_processes.py FOLDER NUM_KILLS SEED ("failures" | "sizes" | TOY)…
"""

from __future__ import annotations

import faulthandler
import json
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from faults import fault_at
from processes import Toy, codes_of, run, start, voyage
from toy_training import PackedRow, toy_steps

from setsail.base.errors import DataError
from setsail.train.checkpoint import latest
from setsail.train.journal import read_journal
from setsail.train.parallel import ALONE, World

NUM_STEPS, NUM_MICRO = 7, 3
MOST_KILLS = 3  # of a voyage
MOST_CRASHES = 1  # of a voyage
CRASHES: list[str] = []  # of all
TOYS = {
    "data": Toy(dtype="bfloat16", dropout=0.1),
    "data-lora": Toy(method="lora", dtype="bfloat16", dropout=0.1),
    "sharded": Toy(dtype="bfloat16", dropout=0.1, sharded=True),
    "sharded-muon": Toy(optimizer="muon", sharded=True),
}


class Trap:
    """Springs when the given number of micro-batches has been looked at by the given process."""

    def __init__(self, rank: int, left: int, spring: Any) -> None:
        self.rank, self.left, self.spring = rank, left, spring

    def touch(self, rank: int) -> None:
        self.left -= rank == self.rank
        if rank == self.rank and self.left == 0:
            self.spring()


class TrappedRow:
    """A packed row that touches the trap when the loop takes its positions, which is once a micro-batch."""

    def __init__(self, row: PackedRow, rank: int, trap: Trap) -> None:
        self._row, self._rank, self._trap = row, rank, trap

    @property
    def positions(self):
        self._trap.touch(self._rank)
        return self._row.positions

    def __getattr__(self, name: str):
        return getattr(self._row, name)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


STACKS = "stacks.txt"
NO_TRAP = Trap(0, 0, die)


def sail(toy: Toy, folder: Path, world: World, trap: Trap = NO_TRAP, nth_call: int = 0) -> None:
    """A voyage; the leader dies at the `nth_call` to the file system that changes it."""
    torch.set_num_threads(1)
    steps = [[TrappedRow(row, world.rank, trap) for row in step] for step in toy_steps(NUM_STEPS, NUM_MICRO)]
    with fault_at(nth_call if world.leads else 0, die):
        voyage(toy, folder, steps, world, after=lambda step: time.sleep(0.001))


def result_of(folder: Path) -> dict[str, Any]:
    records = read_journal(folder / "steps.jsonl")
    return {
        "steps": [[record["step"], record["loss_hex"], record["grad_norm_hex"]] for record in records],
        "final": (folder / "final.txt").read_text(),
        "last": max(folder.glob("checkpoints/step-*")).name,
        "left": sorted(path.name for path in folder.glob("**/*.partial")),
    }


def kill_until_it_arrives(toy: Toy, folder: Path, draw: random.Random) -> list[str]:
    """How it was killed each time: between micro-batches, inside a save, or at any moment from outside."""
    kills: list[str] = []
    for _ in range(MOST_KILLS + 1 + MOST_CRASHES):
        victim, how = draw.randrange(2), draw.choice(("batch", "file", "moment"))
        if len(kills) >= MOST_KILLS:
            how = "let it be"
        trap = Trap(victim, draw.randrange(1, 12), die) if how == "batch" else NO_TRAP
        nth_call = draw.randrange(1, 130) if how == "file" else 0
        children = start(2, lambda world, trap=trap, nth=nth_call: sail(toy, folder, world, trap, nth))
        if how == "moment":
            time.sleep(draw.uniform(0.05, 1.0))
            os.kill(children[victim], signal.SIGKILL)  # it may have arrived and is not waited for yet: then nothing
        codes = codes_of(children)
        if codes == [0, 0]:
            return kills
        kills.append(f"{how}: {codes}")
        if -signal.SIGSEGV in codes:
            CRASHES.append(f"{how}: {codes}")
            continue
        assert -signal.SIGKILL in codes and how != "let it be", kills
    raise AssertionError(f"it never arrives: {kills}")


def ask_to_stop(toy: Toy, folder: Path, number: int, rank: int) -> list[int]:
    """The exit codes after one process got a signal in its third micro-batch; then the voyage goes on to its end."""
    trap = Trap(rank, 3, lambda: os.kill(os.getpid(), number))
    codes = run(2, lambda world: sail(toy, folder, world, trap))
    assert run(2, lambda world: sail(toy, folder, world)) == [0, 0]
    return codes


def fail(folder: Path, toy: Toy, rank: int = -1, error: Exception | None = None) -> dict[str, Any]:
    """What something wrong in one process does to both, and what a reader sees of it."""
    folder.mkdir(parents=True)

    def spring() -> None:
        assert error is not None
        raise error

    codes = run(2, lambda world: sail(toy, folder, world, Trap(rank, 3, spring)), errors=folder / "errors")
    return {
        "codes": codes,
        "said": (folder / "errors").read_text(),
        "left": sorted(path.name for path in folder.glob("checkpoints/*")),
    }


def change_size(folder: Path) -> dict[str, Any]:
    """A voyage begun by two processes, taken on by three and ended by one, beside one of one process alone."""
    trap = Trap(0, 3, lambda: os.kill(os.getpid(), signal.SIGTERM))
    for size, sharded in ((2, False), (3, True)):
        codes = run(size, lambda world, sharded=sharded: sail(Toy(sharded=sharded), folder / "many", world, trap))
        assert codes == [143] * size
    for name in ("many", "one"):
        sail(Toy(), folder / name, ALONE)
    many, one = (read_journal(folder / name / "steps.jsonl") for name in ("many", "one"))
    states = [latest(folder / name / "checkpoints", say=print) for name in ("many", "one")]
    pairs = [(states[0].weights[name], weight) for name, weight in states[1].weights.items()]
    return {
        "steps": [record["step"] for record in many],
        "losses": max(abs(a["loss_nats"] / b["loss_nats"] - 1) for a, b in zip(many, one, strict=True)),
        "weights": max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs),
    }


def kill_and_stop(toy: Toy, folder: Path, draw: random.Random, num_kills: int) -> dict[str, Any]:
    """Voyages until there were so many kills: a trap set behind the end of a voyage does not spring."""
    assert run(2, lambda world: sail(toy, folder / "reference", world)) == [0, 0]
    kills, voyages, stopped = [], [], []
    while len(kills) < num_kills:
        place = folder / f"killed-{len(voyages)}"
        kills += kill_until_it_arrives(toy, place, draw)
        voyages.append(result_of(place))
    for number, rank in ((signal.SIGINT, 0), (signal.SIGTERM, 1)):
        stopped.append(ask_to_stop(toy, folder / f"stopped-{rank}", number, rank))
        voyages.append(result_of(folder / f"stopped-{rank}"))
    return {"reference": result_of(folder / "reference"), "voyages": voyages, "kills": kills, "stopped": stopped}


def failures(folder: Path) -> dict[str, Any]:
    data, sharded = Toy(), Toy(sharded=True)
    bad, fault = DataError("row 7 is bad", hint="mend it"), ValueError("a fault of ours")
    return {
        "bad row, first, data": fail(folder / "1", data, 0, bad),
        "bad row, second, sharded": fail(folder / "2", sharded, 1, bad),
        "fault, first, sharded": fail(folder / "3", sharded, 0, fault),
        "fault, second, data": fail(folder / "4", data, 1, fault),
        "no number": fail(folder / "5", replace(data, spoilt="loss")),
        "other weights": fail(folder / "6", replace(sharded, spoilt="weights")),
        "other weights later": fail(folder / "7", replace(data, spoilt="later")),
    }


def main(folder: Path, parts: Sequence[str], num_kills: int, seed: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    stacks = (folder / STACKS).open("w")
    faulthandler.enable(stacks)  # in the forked ones as well
    draw = random.Random(seed)
    outcome = {part: kill_and_stop(TOYS[part], folder / part, draw, num_kills) for part in parts if part in TOYS}
    outcome["crashes"] = CRASHES and [*CRASHES, (folder / STACKS).read_text()]
    if "failures" in parts:
        outcome["failures"] = failures(folder)
    if "sizes" in parts:
        outcome["sizes"] = change_size(folder / "sizes")
    return outcome


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[4:], int(sys.argv[2]), int(sys.argv[3]))))
