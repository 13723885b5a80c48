"""Regress: texts, of which a number is learned: a rating, a grade.

A text is read as in `classify`. Scores are learned in units of their spread around their mean, and the saved head gives
them as they were.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from setsail.base.target import score_of
from setsail.tasks.classify import prompt, texts
from setsail.tasks.labels import example
from setsail.tasks.reading import Frame, Logits, Reading
from setsail.tasks.task import Row, Task
from setsail.tokens.pack import Example
from setsail.tokens.read import Encoded


def reference(row: Row) -> str:
    """The score."""
    return f"{score_of(row.target):g}"


def frame(rows: Iterable[Row]) -> Frame:
    """The mean of the training scores and their standard deviation, 1 where all are alike."""
    scores = np.array([score_of(row.target) for row in rows])
    return Frame(("score",), float(scores.mean()), float(scores.std()) or 1.0)


def targets(examples: Sequence[Example], frame: Frame) -> npt.NDArray[np.float64]:
    """Scores in standard deviations from the mean, [D]."""
    return (np.array([score_of(each.label) for each in examples]) - frame.mean) / frame.scale


def say(logits: Logits, encoded: Encoded, frame: Frame, texts: tuple[str, ...]) -> dict[str, Any]:
    """The score."""
    return {"score": float(logits[0] * frame.scale + frame.mean)}


def figures(logits: Sequence[Logits], examples: Sequence[Example], frame: Frame) -> Mapping[str, float]:
    """How far the scores are off on average, in their own unit."""
    off = np.stack(logits)[:, 0] - targets(examples, frame)
    return {"mae": float(np.abs(off).mean() * frame.scale)}


TASK = Task("regress", example, prompt, reference, ("r2", "mae", "mse", "spearman", "kappa"))
READING = Reading("document", "score", ("text",), texts, frame, targets, say, figures)
