"""What becomes of each row once all are known: a part, or out with a reason.

Contradictions and copies go, `max_rows` are sampled, the rest is shared out. Where the source brings its own parts,
they are kept, and a training row that stands in the test too goes out of training. What does not live here: reading
and writing rows. The invariant: every row has one fate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from setsail.base.recipe_data import Data
from setsail.data import labels
from setsail.data.duplicates import First, exact_copies, near_copies
from setsail.data.index import PARTS, Index
from setsail.data.pairs import PAIR_TASKS, check_pairs
from setsail.data.sketch import Sketches
from setsail.data.split import TEST, TRAIN, VALIDATION, PartCodes, groups_of, sample, split

FATES = (
    *PARTS,
    "contradictory_label",
    "exact_duplicate",
    "near_duplicate",
    "in_another_part",
    "over_max_rows",
)
_PRECEDENCE = {"test": 0, "validation": 1, "train": 2, "": 2}


@dataclass
class Choice:
    """The fate of N rows, as codes into FATES, and for each the row that decided it; its own where none did."""

    fate: npt.NDArray[np.int8]
    because: First
    rows_after: dict[str, int] = field(default_factory=dict)
    told_apart: list[int] = field(default_factory=list)

    def take_out(self, rows: First, reason: str, because: First) -> None:
        """Gives rows the fate of a reason."""
        self.fate[rows] = FATES.index(reason)
        self.because[rows] = because

    @property
    def left(self) -> First:
        """The rows that are still in, in their order."""
        return np.flatnonzero(self.fate == TRAIN)


def remove_repeats(index: Index, sketches: Callable[[], Sketches], data: Data, *, task: str) -> Choice:
    """Takes out contradictions and copies; every other row is left in train for now."""
    choice = Choice(np.full(len(index), TRAIN, np.int8), np.arange(len(index)))
    if _has_labels(index, task) or task in PAIR_TASKS:
        found = labels.contradictions(index, choice.left)
        choice.take_out(
            np.array(list(found), np.int64), "contradictory_label", np.array(list(found.values()), np.int64)
        )
        choice.rows_after["contradictions"] = len(choice.left)
    rows = _by_precedence(index, choice.left)
    first = exact_copies(index.exact[rows])
    copies = first != np.arange(len(rows))
    choice.take_out(rows[copies], "exact_duplicate", rows[first[copies]])
    choice.rows_after["exact copies"] = len(choice.left)
    if data.near_duplicates < 1.0 and task != "answer":  # questions on one context are nearly the same
        _remove_near(choice, index, sketches(), data.near_duplicates)
        choice.rows_after["near copies"] = len(choice.left)
    return choice


def limit(choice: Choice, index: Index, max_rows: int, *, seed: int) -> None:
    """Leaves `max_rows` rows in, chosen by the hash of their ids."""
    rows = choice.left
    over = rows[~sample(index.id[rows], max_rows, seed=seed)]
    choice.take_out(over, "over_max_rows", over)
    choice.rows_after["max_rows"] = len(choice.left)


def share_out(choice: Choice, index: Index, data: Data, *, task: str) -> list[str]:
    """Gives every row that is left its part; what is worth telling.

    Raises:
        DataError: too few groups, or labels that cannot be learned.
    """
    rows = choice.left
    has_labels = _has_labels(index, task)
    findings = labels.check_labels(index, rows, f"data.source {data.source}") if has_labels else []
    labels.refuse_unknown(index, rows, data.no_relation, task=task)
    if task in PAIR_TASKS:
        findings = check_pairs(index, rows, task, f"data.source {data.source}")
    if (index.part[rows] != "").any():
        findings += _keep_given_parts(choice, index, rows, data)
    else:
        choice.fate[rows] = _parts(index, rows, data, task)
    if has_labels:
        rows = np.flatnonzero(choice.fate <= TEST)
        labels.refuse_unseen(index, rows, choice.fate[rows])
    _refuse_shared_groups(choice, index)
    return findings


def _has_labels(index: Index, task: str) -> bool:
    """Whether each row has one label that is learned."""
    return task in ("classify", "relate") and index.labels != ("",)


def _by_precedence(index: Index, rows: First) -> First:
    """Rows of a given test first, then validation, so that a copy in training is the one that goes."""
    order = np.array([_PRECEDENCE[part] for part in index.part[rows].tolist()], np.int8)
    return rows[np.argsort(order, kind="stable")]


def _remove_near(choice: Choice, index: Index, sketches: Sketches, threshold: float) -> None:
    rows = _by_precedence(index, choice.left)

    def may_pair(later: int, earlier: int) -> bool:
        if index.label[later] == index.label[earlier]:
            return True
        choice.told_apart.append(later)
        return False

    first = near_copies(sketches, threshold, rows=rows, may_pair=may_pair)
    copies = first != np.arange(len(rows))
    choice.take_out(rows[copies], "near_duplicate", rows[first[copies]])
    choice.told_apart = sorted({row for row in choice.told_apart if choice.fate[row] == TRAIN})


def _parts(index: Index, rows: First, data: Data, task: str) -> PartCodes:
    """Shares rows out at random or by time; within each stratum or label where that is wanted."""
    groups_apart = index.grouped[rows].any()
    if data.split.stratify is not None:
        strata = index.stratum[rows]
    elif _has_labels(index, task) and (task == "relate" or not groups_apart):
        strata = index.label[rows].astype(np.uint64)
    else:
        return _split(index, rows, data, validation=data.split.validation, test=data.split.test)
    if groups_apart:
        strata = _of_whole_groups(index, rows, strata)
    parts = np.full(len(rows), TRAIN, np.int8)
    for stratum in np.unique(strata):
        members = strata == stratum
        if members.sum() > len(PARTS):
            parts[members] = _split(index, rows[members], data, validation=data.split.validation, test=data.split.test)
    return parts


def _of_whole_groups(index: Index, rows: First, strata: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The stratum of a group's first row for all of it."""
    names = np.where(index.grouped[rows], index.group[rows], index.id[rows])
    _, first, of = np.unique(names, return_index=True, return_inverse=True)
    return strata[first][of.reshape(-1)]


def _split(index: Index, rows: First, data: Data, *, validation: float, test: float) -> PartCodes:
    time = index.time[rows] if data.split.time is not None else None
    groups = groups_of(index.id[rows], index.group[rows], index.grouped[rows], ranks=index.rank[rows], time=time)
    return split(groups, validation=validation, test=test)


def _keep_given_parts(choice: Choice, index: Index, rows: First, data: Data) -> list[str]:
    """The parts that the source brings; one that it lacks is taken out of its training rows."""
    given = index.part[rows]
    for part, code in (("validation", VALIDATION), ("test", TEST)):
        choice.fate[rows[given == part]] = code
    lacking = {part for part in ("validation", "test") if getattr(data.split, part) > 0 and not (given == part).any()}
    train = rows[(given == "train") | (given == "")]
    _remove_shared_groups(choice, index)
    train = train[choice.fate[train] == TRAIN]
    if lacking:
        shares = {part: getattr(data.split, part) if part in lacking else 0.0 for part in ("validation", "test")}
        choice.fate[train] = _split(index, train, data, **shares)
    found = ", ".join(part for part in PARTS if (given == part).any())
    taken = f"; {' and '.join(sorted(lacking))} taken from train" if lacking else ""
    return [f"the source brings its own parts: {found}{taken}"]


def _remove_shared_groups(choice: Choice, index: Index) -> None:
    """Rows of training whose group stands in a given validation or test; of validation, in test."""
    for part, others in ((TRAIN, (VALIDATION, TEST)), (VALIDATION, (TEST,))):
        inside = np.flatnonzero((choice.fate == part) & index.grouped)
        outside = np.flatnonzero(np.isin(choice.fate, others) & index.grouped)
        shared = inside[np.isin(index.group[inside], index.group[outside])]
        elsewhere = dict(zip(index.group[outside[::-1]].tolist(), outside[::-1].tolist(), strict=True))
        because = np.array([elsewhere[group] for group in index.group[shared].tolist()], np.int64)
        choice.take_out(shared, "in_another_part", because)


def _refuse_shared_groups(choice: Choice, index: Index) -> None:
    groups = [np.unique(index.group[(choice.fate == part) & index.grouped]) for part in (TRAIN, VALIDATION, TEST)]
    for left, right in ((0, 1), (0, 2), (1, 2)):
        assert not len(np.intersect1d(groups[left], groups[right])), "a group stands in two parts"
