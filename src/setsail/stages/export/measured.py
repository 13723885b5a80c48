"""A saved reader in a process of its own: how many texts a second it reads, and the most memory that it holds.

`python -m setsail.stages.export.measured FOLDER TEXTS` prints one JSON line; TEXTS is a JSON list of the texts of
each row.
What a process has once held it cannot forget, so each form is measured in another.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from setsail.base.artifact import open_artifact
from setsail.base.device import device, prepare_device
from setsail.base.errors import SystemRefusal
from setsail.stages.answering.predictor import TEXTS_AT_ONCE
from setsail.stages.answering.predictors import predictor_of
from setsail.train.plan import peak_bytes

ROUNDS = 5


@dataclass(frozen=True)
class Measured:
    """What a form took: texts read or tokens written in a second, and bytes of memory at most."""

    per_second: float
    peak_bytes: int


def measure_apart(folder: Path, texts: Path) -> Measured:
    """The speed and memory of the reader in an artefact's folder.

    Raises: SystemRefusal where the process that measures fails.
    """
    command = [sys.executable, "-m", "setsail.stages.export.measured", str(folder), str(texts)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise SystemRefusal(f"the form could not be measured: its process said {why}", place=str(folder))
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def measure(folder: Path, texts: list[tuple[str, ...]]) -> Measured:
    """Reads all texts several times, after once for nothing, and takes the shortest time: other work only adds."""
    prepare_device(0)
    predictor = predictor_of(open_artifact(folder, verify=False))
    reader = predictor.reader
    reader.logits(texts[:TEXTS_AT_ONCE], at_once=TEXTS_AT_ONCE)
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        reader.logits(texts, at_once=TEXTS_AT_ONCE)
        seconds.append(time.perf_counter() - began)
    return Measured(len(texts) / min(seconds), held_at_most())


def held_at_most(pid: int | None = None) -> int:
    """The most memory in bytes that a process has held, this one or another; of this one's GPU where it computes."""
    if pid is None and device().type == "cuda":
        return peak_bytes(device())
    status = Path(f"/proc/{pid or 'self'}/status")
    if not status.exists():
        if pid is None:
            return peak_bytes(device())
        raise SystemRefusal("this system does not tell how much memory another process has held", place=str(status))
    # Not what getrusage says: a process inherits there what its parent held when it was started.
    line = next(line for line in status.read_text("utf-8").splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[2]).read_text("utf-8"))
    print(json.dumps(asdict(measure(Path(sys.argv[1]), [tuple(each) for each in given]))))
