"""The same work on many pieces, in one process or in several, with the results in the order of the pieces.

What does not live here: what the work is. The invariants: an error reaches the caller as it was raised; processes end
with their parent, however it ends.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any, TypeVar

Piece = TypeVar("Piece")
Result = TypeVar("Result")


def each(work: Callable[[Piece], Result], pieces: Sequence[Piece], *, processes: int) -> Iterator[Result]:
    """`work` of every piece, in order; few results wait at a time. `work` and its results can be pickled.

    Raises:
        What `work` raises, of the first piece for which it does.
    """
    if processes <= 1 or len(pieces) <= 1:
        yield from map(work, pieces)
        return
    # Not fork: the parent may hold threads and locks of torch.
    context = multiprocessing.get_context("spawn")
    waiting: deque[Future[Any]] = deque()
    with ProcessPoolExecutor(min(processes, len(pieces)), context, initializer=_begin) as pool:
        try:
            for piece in pieces:
                waiting.append(pool.submit(work, piece))
                if len(waiting) > 2 * processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)
