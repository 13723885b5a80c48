"""Several processes of one run, forked from this one and joined over gloo, and toys that they train together."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.distributed import TCPStore
from toy_training import PackedRow, fingerprint_of, toy_course, toy_model

from setsail.base.errors import SetsailError
from setsail.base.recipe import Lora
from setsail.models.lora import add_lora
from setsail.train.learner import Learner, make_learner
from setsail.train.loop import Step
from setsail.train.loss import NEXT_TOKEN
from setsail.train.optimizer import build_optimizer
from setsail.train.parallel import ALONE, World, joined
from setsail.train.resume import Course, follow, restore, train_resumably

STORES: list[TCPStore] = []  # of the processes that are at work


@dataclass(frozen=True)
class Toy:
    """What is trained and how; the same in every process."""

    method: str = "full"
    optimizer: str = "adamw"
    dtype: str = "float32"
    dropout: float = 0.0
    sharded: bool = False
    save_every: int = 2
    spoilt: str = ""  # what is wrong in every process but the first: "weights" or "loss", or "later" the weights

    def learner(self, world: World) -> Learner:
        model = toy_model(getattr(torch, self.dtype), dropout=self.dropout)
        if self.method == "lora":
            add_lora(model, Lora(rank=4, targets=("q_proj", "v_proj", "down_proj")), seed=3)

        if world.rank and self.spoilt == "weights":
            next(model.parameters()).data[0, 0] += 1

        def build(model: torch.nn.Module):
            return build_optimizer(model, self.optimizer, weight_decay=0.01)

        def loss(model, batch):
            nats, num_tokens = NEXT_TOKEN.loss(model, batch)
            return nats * (float("nan") if world.rank and self.spoilt == "loss" else 1.0), num_tokens

        objective = replace(NEXT_TOKEN, loss=loss)
        learner = make_learner(model, build, objective=objective, world=world, sharded=self.sharded)
        if world.rank and self.spoilt == "later":
            next(model.parameters()).data[0, 0] += 1
        return learner


def voyage(
    toy: Toy,
    folder: Path,
    steps: Sequence[Sequence[PackedRow]],
    world: World = ALONE,
    after: Callable[[Step], None] = lambda step: None,
) -> dict[str, Any]:
    """What the training stage does in each process; the leader's is what came of it."""
    learner = toy.learner(world)
    course: Course = replace(
        toy_course(len(steps)), objective=learner.objective, world=learner.world, save_every=toy.save_every
    )
    if not world.leads:
        follow(learner, steps, course, world.orders())
        return {}
    start = restore(learner.optimizer, course, folder=folder, say=lambda text: None)
    before = {name: weight.clone() for name, weight in learner.optimizer.weights().items()}
    done = []
    for step in train_resumably(learner.model, learner.optimizer, steps[start:], course, folder=folder, start=start):
        after(step)
        done.append(step)
    weights = {name: weight.clone() for name, weight in learner.optimizer.weights().items()}
    model = learner.look()
    (folder / "final.txt").write_text(fingerprint_of(model))
    world.order("learned")
    return {"steps": done, "before": before, "weights": weights, "model": model}


def start(size: int, work: Callable[[World], None], *, errors: Path | None = None) -> list[int]:
    """Forks `size` processes that join each other and work; returns their ids. What they say goes to `errors`.

    As torchrun does, the store by which they meet is kept by their parent.
    """
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    STORES[:] = [store]
    children = []
    for rank in range(size):
        child = os.fork()
        if child == 0:
            names = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": size}
            os.environ.update({name: str(value) for name, value in names.items()})
            os.environ.update({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)})
            os.environ.update({"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"})
            if errors is not None:
                os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
            os._exit(_code_of(work))
        children.append(child)
    return children


def _code_of(work: Callable[[World], None]) -> int:
    """As the command leaves: every way to end is a message and an exit code."""
    try:
        with joined() as world:
            work(world)
            assert world.leads or next(world.orders()) == {"do": "end"}
    except SetsailError as error:
        print(error, file=sys.stderr, flush=True)
        return error.exit_code
    except SystemExit as leaving:
        return int(leaving.code or 0)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def codes_of(children: Sequence[int], *, within_seconds: float = 120.0) -> list[int]:
    """The exit codes of children; one that hangs is killed and counts as hung."""
    codes: dict[int, int] = {}
    until = time.monotonic() + within_seconds
    while len(codes) < len(children):
        for child in set(children) - set(codes):
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                codes[child] = os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            for child in set(children) - set(codes):
                os.kill(child, 9)
            raise TimeoutError(f"process {[children.index(child) for child in set(children) - set(codes)]} hangs")
        time.sleep(0.002)
    return [codes[child] for child in children]


def run(size: int, work: Callable[[World], None], *, errors: Path | None = None) -> list[int]:
    """The exit codes of `size` processes that work together."""
    return codes_of(start(size, work, errors=errors))
