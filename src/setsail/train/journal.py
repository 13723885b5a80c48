"""A journal of steps: one JSON object a line, each step once, however often training was killed and went on.

Lines are handed to the system as they come; `flush` forces them to the disk and belongs before a checkpoint, so that no
checkpoint is ahead of its journal. Numbers that must be compared exactly are there as hex too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from setsail.base.files import explained_os_errors, write_atomically
from setsail.train.loop import Step


class Journal:
    """An open journal; `append` a record for each step."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def append(self, record: Mapping[str, Any]) -> None:
        with explained_os_errors("writing the journal of steps"):
            self._file.write(json.dumps(record, ensure_ascii=False).encode("utf-8") + b"\n")

    def flush(self) -> None:
        with explained_os_errors("writing the journal of steps"):
            os.fsync(self._file.fileno())


@contextmanager
def open_journal(path: Path, *, start: int) -> Iterator[Journal]:
    """Opens a journal to go on after step `start`: what an attempt that was killed wrote beyond it is cut off.

    Raises:
        SystemRefusal: disk full, no permission.
    """
    kept = [record for record in read_journal(path) if record["step"] <= start]
    with explained_os_errors("writing the journal of steps"):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in kept))
        file = path.open("ab", buffering=0)
    with file:
        yield Journal(file)


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The records of a journal, without a last line that was cut short; nothing where there is no file."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]  # what follows the last line end was never finished
    return [json.loads(line) for line in lines]


def record_of(step: Step) -> dict[str, Any]:
    """A step as its journal keeps it."""
    return {
        "step": step.index,
        "loss_nats": step.loss_nats,
        "loss_hex": step.loss_nats.hex(),
        "num_tokens": step.num_tokens,
        "num_supervised": step.num_supervised,
        "grad_norm": step.grad_norm,
        "grad_norm_hex": step.grad_norm.hex(),
        "learning_rate": step.learning_rate,
        "seconds": round(step.seconds, 4),
    }
