"""Training rows whose label is doubtful: a model that never saw them says another label, and is surer than usual of it.

Source: Northcutt, Jiang and Chuang 2021, Confident Learning (arXiv 1911.00068), section 3.1: a row counts as of the
label whose probability reaches that label's own mean, and stands in doubt where that is not the label it has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from setsail.data.row import Row
from setsail.evaluate.class_baselines import Classify
from setsail.evaluate.interval import units_of

NUM_FOLDS = 5
MOST_SHOWN = 20
_SHOWN_CHARACTERS = 300


@dataclass(frozen=True)
class Doubt:
    """A training row, the label that it has, and the one that a model gives which did not learn from it."""

    row_id: str
    origin: str
    text: str
    label: str
    said: str
    probability: float


@dataclass(frozen=True)
class Doubts:
    """How many of the rows looked at stand in doubt, and those of which the model is surest."""

    num_rows: int
    num_doubtful: int
    shown: tuple[Doubt, ...]


def doubts(
    rows: Sequence[Row], labels: Sequence[str], fit: Callable[[Sequence[Row]], Classify], *, seed: int
) -> Doubts | None:
    """The doubtful rows, by models of which each has learned from the other folds; groups stand in one fold.

    None where there are too few rows to learn from a part of them.
    """
    if len(rows) < 4 * NUM_FOLDS:
        return None
    probabilities_NC = _unseen(rows, labels, fit, seed)
    index = {label: number for number, label in enumerate(labels)}
    has_N = np.array([index[row.label] for row in rows])
    own_N = probabilities_NC[np.arange(len(rows)), has_N]
    own_of = [own_N[has_N == label] for label in range(len(labels))]
    usual_C = np.array([own.mean() if len(own) else np.inf for own in own_of])
    reached_NC = np.where(probabilities_NC >= usual_C, probabilities_NC, -1.0)
    said_N, best_N = reached_NC.argmax(axis=1), reached_NC.max(axis=1)
    doubtful = np.flatnonzero((best_N >= 0) & (said_N != has_N))
    order = sorted(doubtful.tolist(), key=lambda place: (own_N[place] - best_N[place], rows[place].id))
    shown = []
    for place in order[:MOST_SHOWN]:
        row, said = rows[place], labels[int(said_N[place])]
        text = row.text[:_SHOWN_CHARACTERS]
        shown.append(Doubt(row.id, row.origin, text, row.label, said, float(best_N[place])))
    return Doubts(len(rows), len(doubtful), tuple(shown))


def _unseen(
    rows: Sequence[Row], labels: Sequence[str], fit: Callable[[Sequence[Row]], Classify], seed: int
) -> NDArray[np.float64]:
    units = units_of([row.group for row in rows], len(rows))
    fold_of_unit = np.random.default_rng(seed).permutation(int(units.max()) + 1) % NUM_FOLDS
    folds = fold_of_unit[units]
    found = np.zeros((len(rows), len(labels)))
    for fold in range(NUM_FOLDS):
        held = np.flatnonzero(folds == fold).tolist()
        known = [rows[place] for place in np.flatnonzero(folds != fold).tolist()]
        if held and len({row.label for row in known}) > 1:
            found[held] = fit(known)([rows[place].text for place in held])
    return found
