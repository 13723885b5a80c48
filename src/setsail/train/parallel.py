"""Several processes that train as one: who they are, what each takes of a step, how they keep and end together.

Process 0 leads: it alone decides, writes and speaks, and orders from the others what they must do with it: a step, or
giving up their part of the weights. Orders and figures go through gloo, gradients and weights through gloo between CPUs
and NCCL between GPUs; who failed stands in the store by which the processes met. The invariant: a step of several
processes is that of one but for the order in which gradients are added up, and a process alone does nothing for it.
"""

from __future__ import annotations

import hashlib
import json
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from setsail.base.device import device
from setsail.base.environment import read_environment
from setsail.base.errors import EXIT_OUR_FAULT, SetsailError, SystemRefusal

if TYPE_CHECKING:
    from setsail.train.objective import Batch

BUCKET = 2**25  # numbers that are added up at once: 128 MiB in fp32
LONGEST_STEP = timedelta(minutes=30)  # a process that is so late is lost
LONGEST_WAIT = timedelta(days=365)  # for an order: whoever leads may evaluate for long
SHORTEST_PAUSE, LONGEST_PAUSE = 0.0002, 0.05  # seconds between two looks whether one has come
SECONDS_TO_SPEAK = 1.0  # for the process that tells an error, before the launcher ends it for another's sake
FAILED, STOP = "failed", "stop"  # in the store

Order = dict[str, Any]  # {"do": what} and what that needs


class ProcessLost(SystemRefusal):
    """Another process of the run is gone without a word: killed, or its machine is."""

    exit_code = EXIT_OUR_FAULT


@dataclass(frozen=True)
class World:
    """The processes of a run, and which of them this one is; by default the only one.

    `in_step`: every process goes through as many micro-batches as any other, as weights that are shared out need it.
    """

    rank: int = 0
    size: int = 1
    store: Store | None = None
    orderly: dist.ProcessGroup | None = None  # the group through which orders go
    in_step: bool = False

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def passes(self, num_batches: int) -> Iterator[tuple[int, float]]:
        """The numbers of the micro-batches of a step that are this process's, each with the share that counts.

        >>> list(World(rank=1, size=2).passes(3)), list(World(rank=1, size=2, in_step=True).passes(3))
        ([(1, 1.0)], [(1, 1.0), (0, 0.0)])
        """
        own = range(self.rank, num_batches, self.size)
        yield from ((number, 1.0) for number in own)
        if self.in_step and len(own) * self.size < num_batches:
            yield 0, 0.0  # keeps the others company: its gradients are zero

    def sums(self, values: Sequence[float]) -> list[float]:
        """Each value added up over all processes, in double precision."""
        if self.size == 1:
            return list(values)
        summed = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(summed)
        return summed.tolist()

    def order(self, what: str, **details: Any) -> None:
        """Tells the other processes what to do next; only the one that leads does."""
        if self.size > 1:
            assert self.leads
            text = torch.frombuffer(bytearray(json.dumps({"do": what, **details}).encode()), dtype=torch.uint8)
            dist.broadcast(torch.tensor([len(text)]), src=0, group=self.orderly)
            dist.broadcast(text, src=0, group=self.orderly)

    def orders(self) -> Iterator[Order]:
        """What the leading process orders, as it comes; signals are heard meanwhile."""
        while True:
            length = torch.zeros(1, dtype=torch.int64)
            coming = dist.broadcast(length, src=0, group=self.orderly, async_op=True)
            assert coming is not None
            pause = SHORTEST_PAUSE
            while not coming.is_completed():
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            coming.wait()
            text = torch.empty(int(length), dtype=torch.uint8)
            dist.broadcast(text, src=0, group=self.orderly)
            yield json.loads(text.numpy().tobytes())

    def ask_to_stop(self, signal_number: int) -> None:
        """Passes a signal on to the leading process."""
        assert self.store is not None
        self.store.set(STOP, str(signal_number))

    def asked_to_stop(self) -> int | None:
        """The signal that another process passed on, or None."""
        if self.store is None or not self.store.check([STOP]):
            return None
        return int(self.store.get(STOP))

    def check_alike(self, what: str, numbers: Sequence[int]) -> None:
        """Makes sure that all processes hold the same numbers.

        Raises:
            SystemRefusal: in all of them, where one differs.
        """
        if self.size == 1:
            return
        digest = hashlib.sha256(json.dumps(list(numbers)).encode()).digest()
        ours = torch.frombuffer(bytearray(digest), dtype=torch.int64)
        everybodys = [torch.empty_like(ours) for _ in range(self.size)]
        dist.all_gather(everybodys, ours)
        others = [rank for rank, theirs in enumerate(everybodys) if not torch.equal(theirs, everybodys[0])]
        if others:
            raise SystemRefusal(
                f"{what} of process {others[0]} are not those of process 0",
                hint="all processes need the same files, packages and kind of machine",
            )


ALONE = World()


@contextmanager
def joined() -> Iterator[World]:
    """The world of this process for as long as the work in it takes; what ends one process ends them all.

    When the leader is done it orders "end", which the others must take. Whoever leaves the work in order leaves the
    group too: a process that ends with gloo's threads still running is at times aborted by them.
    An error is told by the process that has it; the others leave in silence, with its exit code.

    Raises:
        ProcessLost: another process was killed.
    """
    process = read_environment().process
    if process.size == 1:
        yield ALONE
        return
    world = _join(process.rank)
    try:
        yield world
        if world.leads:
            world.order("end")
    except BaseException as error:
        _end_all(world, error)
    else:
        dist.destroy_process_group()


def sum_gradients(world: World, weights: Iterable[Tensor]) -> None:
    """Adds up the gradients of all processes in place; a weight without one in any of them stays without.

    Mutates: the weights' gradients. Those that are shared out are summed already, by their backward pass.
    """
    if world.size == 1 or world.in_step:
        return
    weights = list(weights)
    holders = world.sums([float(weight.grad is not None) for weight in weights])
    gradients = []
    for weight, num_holders in zip(weights, holders, strict=True):
        if num_holders:
            weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
            gradients.append(weight.grad)
    for bucket in _buckets(gradients):
        flat = torch.cat([gradient.flatten() for gradient in bucket])
        dist.all_reduce(flat)
        for gradient, part in zip(bucket, flat.split([gradient.numel() for gradient in bucket]), strict=True):
            gradient.copy_(part.view_as(gradient))


def announced(world: World, steps: Iterable[Sequence[Batch]], start: int) -> Iterator[Sequence[Batch]]:
    """The steps after `start`, each ordered from the other processes just before it is taken."""
    for number, batches in enumerate(steps, start + 1):
        world.order("step", number=number)
        yield batches


def checksums(weights: Iterable[Tensor]) -> list[int]:
    """The sum of each weight's bits, the same in whatever order they are added."""
    bits = {8: torch.int64, 4: torch.int32, 2: torch.int16}
    return [int(weight.detach().view(bits[weight.element_size()]).sum(dtype=torch.int64)) for weight in weights]


def _join(rank: int) -> World:
    store, _, size = next(iter(rendezvous("env://", timeout=LONGEST_STEP)))
    store = PrefixStore("setsail", store)
    gpu = device() if device().type == "cuda" else None
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if gpu else "gloo",
        store=PrefixStore("groups", store),
        rank=rank,
        world_size=size,
        timeout=LONGEST_STEP,
        device_id=gpu,
    )
    orderly = dist.new_group(backend="gloo", timeout=LONGEST_WAIT)
    assert isinstance(orderly, dist.ProcessGroup)
    return World(rank, size, store, orderly)


def _end_all(world: World, error: BaseException) -> None:
    """Lets the first process that fails tell why; every other leaves with its exit code and says nothing.

    Raises:
        BaseException: the error, or what it stands for, where this process is the first.
        SystemExit: where another is.
    """
    assert world.store is not None
    if _is_loss(error):
        error = ProcessLost(
            "another process of this run is gone without a word: it was killed, or its machine is down",
            hint="type the same command to go on from the last checkpoint",
        )
    ours = f"{world.rank} {_exit_code(error)}"
    try:
        first = world.store.compare_set(FAILED, "", ours).decode()
    except dist.DistError:  # gone with the launcher, or with the process that kept it
        first = ours
    if first == ours:
        if world.rank:
            print(f"process {world.rank} of {world.size}, counted from 0:", file=sys.stderr, flush=True)
        raise error
    time.sleep(SECONDS_TO_SPEAK)
    raise SystemExit(int(first.split()[1])) from error


def _exit_code(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return 128 + signal.SIGINT
    return error.exit_code if isinstance(error, SetsailError) else EXIT_OUR_FAULT


def _is_loss(error: BaseException) -> bool:
    """Whether the other end of a connection is gone."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo/transport" in str(error))


def _buckets(gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """The gradients in order, in groups of one number format and of at most `BUCKET` numbers where one has no more."""
    bucket: list[Tensor] = []
    size = 0
    for gradient in gradients:
        if bucket and (gradient.dtype != bucket[0].dtype or size + gradient.numel() > BUCKET):
            yield bucket
            bucket, size = [], 0
        bucket.append(gradient)
        size += gradient.numel()
    if bucket:
        yield bucket
