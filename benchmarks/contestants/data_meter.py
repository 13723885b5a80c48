"""What a run of a data pipeline cost: wall and CPU seconds of it and its children, and the largest process's memory."""

from __future__ import annotations

import json
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil


@contextmanager
def metered() -> Iterator[dict[str, Any]]:
    """Prints the figures as one JSON line at the end; the body may add some."""
    told: dict[str, Any] = {}
    largest = [0]
    done = threading.Event()
    watch = threading.Thread(target=_watch, args=(largest, done), daemon=True)
    watch.start()
    began, spent = time.perf_counter(), _cpu_seconds()
    yield told
    told["wall_seconds"] = time.perf_counter() - began
    told["cpu_seconds"] = _cpu_seconds() - spent
    done.set()
    watch.join()
    told["peak_bytes"] = largest[0]
    print(json.dumps(told), flush=True)


def _cpu_seconds() -> float:
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in both)


def _watch(largest: list[int], done: threading.Event) -> None:
    me = psutil.Process()
    while not done.wait(0.25):
        for process in (me, *me.children(recursive=True)):
            try:
                memory = process.memory_full_info()
                largest[0] = max(largest[0], memory.uss)
            except psutil.Error:
                continue
