"""What a training took, beside what its plan predicted: time, core-hours, memory, the validation curve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from setsail.base.artifact import Artifact
from setsail.base.device import device
from setsail.base.log import duration
from setsail.base.machine import num_cores
from setsail.train.journal import read_journal
from setsail.train.plan import Plan, peak_bytes
from setsail.train.resume import STEPS

VALIDATION = "validation.jsonl"  # the journal of validations


def in_words(metrics: Mapping[str, Any]) -> str:
    """What the steps took, in the words in which the plan predicted it."""
    memory = f"{metrics['actual_memory_bytes'] / 2**30:.2f} GiB at most"
    return f"{duration(metrics['actual_seconds'])}, {metrics['core_hours']:.2f} core-hours; {memory}"


def core_seconds_of(trained: Artifact) -> float:
    """What the steps of a training took, in seconds of one core."""
    known = trained.metrics  # a model trained by an earlier setsail states no core-hours
    return 3600 * known["core_hours"] if "core_hours" in known else known["actual_seconds"] * num_cores()


def what_was_spent(plan: Plan, draft: Path, seconds: float, *, cores: int) -> dict[str, Any]:
    """What the manifest and the report say of the run; predictions stand beside what came.

    Units: a core-hour is an hour of one core that was there to be used, whether it was or not.
    """
    steps, curve = read_journal(draft / STEPS), read_journal(draft / VALIDATION)
    spent = sum(step["seconds"] for step in steps)
    return {
        "plan": asdict(plan),
        "actual_seconds": round(spent, 2),
        "core_hours": round(spent * cores / 3600, 4),
        "seconds_with_validation": round(seconds, 2),
        "actual_memory_bytes": peak_bytes(device()),
        "validation": curve,
        "first_loss_nats": steps[0]["loss_nats"],
        "last_loss_nats": steps[-1]["loss_nats"],
    }
