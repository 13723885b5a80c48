"""A saved reader in a process of its own: how many texts a second it reads, and the most memory that it holds.

`python -m setsail.stages.measured FOLDER TEXTS` prints one JSON line; TEXTS is a JSON list of the texts of each row.
What a process has once held it cannot forget, so each form is measured in another.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from setsail.base.artifact import open_artifact
from setsail.base.device import prepare_device
from setsail.base.errors import SystemRefusal
from setsail.stages.predictor import TEXTS_AT_ONCE, predictor_of
from setsail.train.plan import peak_bytes

ROUNDS = 3


@dataclass(frozen=True)
class Measured:
    """What a form took: texts read or tokens written in a second, and bytes of memory at most."""

    per_second: float
    peak_bytes: int


def measure_apart(folder: Path, texts: Path) -> Measured:
    """The speed and memory of the reader in an artefact's folder.

    Raises: SystemRefusal where the process that measures fails.
    """
    command = [sys.executable, "-m", "setsail.stages.measured", str(folder), str(texts)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise SystemRefusal(f"the form could not be measured: its process said {why}", place=str(folder))
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def measure(folder: Path, texts: list[tuple[str, ...]]) -> Measured:
    """Reads all texts several times, after once for nothing, and takes the middle time."""
    prepare_device(0)
    predictor = predictor_of(open_artifact(folder, verify=False))
    reader = predictor.reader
    reader.logits(texts[:TEXTS_AT_ONCE], at_once=TEXTS_AT_ONCE)
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        reader.logits(texts, at_once=TEXTS_AT_ONCE)
        seconds.append(time.perf_counter() - began)
    return Measured(len(texts) / statistics.median(seconds), peak_bytes(reader.model.device))


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[2]).read_text("utf-8"))
    print(json.dumps(asdict(measure(Path(sys.argv[1]), [tuple(each) for each in given]))))
