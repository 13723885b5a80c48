"""The faithfulness check of a form that is rounded on purpose: how far eight bits may lead from what the trainer said.

What must be the same (labels, token ids) still must be. Of the figures it is told how far they are off, as a share of
how they differ from text to text, and how many decisions fall otherwise of which the trainer was sure.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from setsail.compress.check import Finding
from setsail.compress.check_reader import ReadObservation, ReadReference, compare_readings
from setsail.compress.check_values import ValueObservation, ValueReference, compare_values

# MiniLM was off by 0.14 with one scale for each column, and by 0.24 with one for each matrix (docs/log.md).
MOST_OFF = 0.25
MOST_OTHER = 0.05  # share of the sure decisions
SURE = 1.0  # nats of lead: e times as likely as the next

Floats = NDArray[np.float64]


def compare_rounded_readings(reference: ReadReference, seen: ReadObservation) -> list[Finding]:
    """Every comparison of a rounded reader with the trainer."""
    exact = compare_readings(reference, seen)[:2]  # names of labels and token ids
    if not exact[0].passed:
        return exact
    ours = [np.array(probe.logits) for probe in reference.probes]
    theirs = [np.array(logits) for logits in seen.logits]
    if any(a.shape != b.shape for a, b in zip(ours, theirs, strict=True)):
        return [*exact, Finding(seen.stage, "texts with another number of figures", 1, 0, False)]
    return [*exact, _off(seen.stage, "logits", ours, theirs), _decided(seen.stage, reference.task, ours, theirs)]


def compare_rounded_values(reference: ValueReference, seen: ValueObservation) -> list[Finding]:
    """Every comparison of a rounded encoder of vectors, or ranker, with the trainer."""
    exact = compare_values(reference, seen)
    if "another size" in exact[-1].check:
        return exact
    ours, theirs = ([np.array(each)] for each in ([probe.values for probe in reference.probes], seen.values))
    return [exact[0], _off(seen.stage, reference.noun, ours, theirs)]


def _off(stage: str, noun: str, ours: Sequence[Floats], theirs: Sequence[Floats]) -> Finding:
    """The root mean square of the differences, as a share of that of the figures around their mean."""
    true, said = np.concatenate(ours), np.concatenate(theirs)
    spread = float(np.square(true - true.mean(axis=0)).mean()) or float(np.square(true).mean()) or 1.0
    off = float(np.sqrt(np.square(said - true).mean() / spread))
    return Finding(stage, f"{noun}, off as a share of their spread", off, MOST_OFF, off <= MOST_OFF)


def _decided(stage: str, task: str, ours: Sequence[Floats], theirs: Sequence[Floats]) -> Finding:
    """How many decisions fall otherwise of which the trainer was sure."""
    num_sure, num_other = 0, 0
    for true, said in zip(ours, theirs, strict=True):
        if task == "labels":  # each figure is a question of its own
            sure, other = np.abs(true) >= SURE, (true >= 0) != (said >= 0)
        elif true.shape[-1] == 1:  # a score decides nothing
            sure = other = np.zeros(0, dtype=np.bool_)
        else:
            axis = 0 if task == "answer" else -1  # where it starts and ends, or which label
            ordered = np.sort(true, axis=axis)
            last = np.take(ordered, -1, axis=axis)
            sure = last - np.take(ordered, -2, axis=axis) >= SURE
            other = true.argmax(axis=axis) != said.argmax(axis=axis)
        num_sure, num_other = num_sure + int(sure.sum()), num_other + int((sure & other).sum())
    share = num_other / max(1, num_sure)
    detail = f"{num_other} of {num_sure}"
    return Finding(stage, "sure decisions that fall otherwise", share, MOST_OTHER, share <= MOST_OTHER, detail)
