"""The questions that a bare contestant is asked through its pipe, as `clients.OverPipe` tells."""

from __future__ import annotations

import json
import queue
import sys
import threading
from typing import Any

Questions = queue.SimpleQueue[dict[str, Any] | None]


def ask_me() -> Questions:
    """Says `ready`; the questions from now on, and None when there are no more."""
    asked: Questions = queue.SimpleQueue()
    threading.Thread(target=_read, args=(asked,), daemon=True).start()
    print("ready", flush=True)
    return asked


def _read(asked: Questions) -> None:
    for line in sys.stdin:
        asked.put(json.loads(line))
    asked.put(None)
