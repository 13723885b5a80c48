"""The best weights of a run by validation, kept on the disk beside its checkpoints, and when patience has ended.

The invariant: what `take` gives is what was kept last, whole and hash-verified; a run that was killed and went on ends
with the same best weights as one never stopped, since what came after the checkpoint is forgotten and made again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from setsail.base.errors import ArtifactError
from setsail.base.files import explained_os_errors, publish_folder, sha256_of
from setsail.models.tensor_file import read_tensors, write_tensors

BEST = "best"
_WEIGHTS, _NOTE = "weights.safetensors", "note.json"


def best_of(curve: Sequence[Mapping[str, Any]], measure: str = "bits_per_byte") -> Mapping[str, Any]:
    """The validation with the least of a measure; the earliest of equals."""
    return min(curve, key=lambda record: (record[measure], record["step"]))


def is_out_of_patience(
    curve: Sequence[Mapping[str, Any]], patience: int | None, measure: str = "bits_per_byte"
) -> bool:
    """Whether the last `patience` validations were all worse than the best one before them."""
    if patience is None or not curve:
        return False
    best = best_of(curve, measure)["step"]
    return sum(record["step"] > best for record in curve) >= patience


def keep_best(folder: Path, step: int, weights: Mapping[str, Tensor]) -> None:
    """Writes the weights of a step in the place of those kept before.

    Raises:
        SystemRefusal: disk full, no permission; what was kept before is as it was.
    """
    draft, final, old = (folder / name for name in (f".{BEST}.partial", BEST, f".{BEST}.replaced.partial"))
    with explained_os_errors(f"keeping the weights of step {step}, the best so far"):
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
        draft.mkdir(parents=True)
        note = {"step": step, "sha256": write_tensors(draft / _WEIGHTS, weights)}
        (draft / _NOTE).write_text(json.dumps(note) + "\n", "utf-8")
        if final.exists():
            final.rename(old)
        publish_folder(draft, final)
        shutil.rmtree(old, ignore_errors=True)


def take_best(folder: Path, step: int) -> dict[str, Tensor] | None:
    """The kept weights if they are those of `step`; None where others or none were kept.

    Raises:
        ArtifactError: they are damaged.
    """
    note = folder / BEST / _NOTE
    if not note.is_file():
        return None
    said = json.loads(note.read_text("utf-8"))
    if said["step"] != step:
        return None
    path = folder / BEST / _WEIGHTS
    if sha256_of(path) != said["sha256"]:
        raise ArtifactError(
            f"the best weights, of step {step}, are damaged", place=str(path), hint="delete the folder and train again"
        )
    return read_tensors(path)
