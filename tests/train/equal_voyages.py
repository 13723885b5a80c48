"""The same training by one process and by several; prints how far apart they are as JSON.

A program of its own, with one thread: a forked child could not use the threads of its parent.
usage: equal_voyages.py FOLDER
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from processes import Toy, run, voyage
from toy_training import PackedRow, toy_steps

from setsail.train.parallel import World

NEVER = 100  # saves but the last
TOYS = {
    2: (
        *(Toy(optimizer=name, save_every=NEVER) for name in ("sgd", "adagrad", "adam", "adamw", "muon")),
        *(Toy(method="lora", optimizer=name, save_every=NEVER) for name in ("adamw", "muon")),
        *(Toy(method=method, dtype="bfloat16", save_every=NEVER) for method in ("lora", "full")),
        Toy(dropout=0.3, save_every=NEVER),
    ),
    3: (
        Toy(optimizer="adamw", save_every=NEVER),
        Toy(optimizer="muon", save_every=NEVER),
        Toy(method="lora", dtype="bfloat16", dropout=0.3, save_every=NEVER),
    ),
}


def uneven_steps() -> list[list[PackedRow]]:
    """Five steps of three micro-batches, of one, of four, of two, of five."""
    rows = [row for step in toy_steps(5, 3) for row in step]
    return [rows[start:end] for start, end in pairwise((0, 3, 4, 8, 10, 15))]


def furthest(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """The largest difference, relative to the largest number of its tensor."""
    return max(float((one[name] - other[name]).abs().max() / other[name].abs().max()) for name in other)


def distances(ours: dict[str, Any], alone: dict[str, Any]) -> dict[str, Any]:
    models = [{name: weight.float() for name, weight in run["model"].state_dict().items()} for run in (ours, alone)]
    steps = list(zip(ours["steps"], alone["steps"], strict=True))
    figures = [[(s.index, s.num_tokens, s.num_supervised, s.learning_rate) for s in pair] for pair in steps]
    return {
        "weights": furthest(ours["weights"], alone["weights"]),
        "model": furthest(*models),
        "moved": furthest(alone["before"], alone["weights"]),
        "losses": max(abs(one.loss_nats / other.loss_nats - 1) for one, other in steps),
        "norms": max(abs(one.grad_norm / other.grad_norm - 1) for one, other in steps),
        "same_figures": all(one == other for one, other in figures),
    }


def compare(world: World, folder: Path) -> None:
    """Every toy in every way by this world, and then by the leader alone."""
    outcomes = []
    for number, toy in enumerate(TOYS[world.size]):
        alone = voyage(toy, folder / f"{world.size}-{number}-alone", uneven_steps()) if world.leads else {}
        for sharded in (False, True):
            toy = replace(toy, sharded=sharded)
            ours = voyage(toy, folder / f"{world.size}-{number}-{sharded}", uneven_steps(), world)
            if world.leads:
                outcomes.append({**asdict(toy), "processes": world.size, **distances(ours, alone)})
    if world.leads:
        (folder / f"{world.size}.json").write_text(json.dumps(outcomes))


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    for size in TOYS:
        assert run(size, lambda world: compare(world, folder)) == [0] * size
    print(json.dumps([outcome for size in TOYS for outcome in json.loads((folder / f"{size}.json").read_text())]))
