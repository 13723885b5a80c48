"""The result of an evaluation and its file, evaluation.json.

The file is this dataclass as JSON, key for key: `systems.<name>.metrics.<metric>` has value, low, high (95 %) and
num_units; `comparisons` has a system against another with both values, the paired difference, its interval and a
decision (better, not_shown, worse) for each metric that both have; `verdict` is the first comparison in words;
`samples` are rows chosen as `samples_how` says; `classes`, where labels are told apart, has what is known label by
label; `ladder` has what each system costs and where to stop, `more_rows` what more training rows should bring;
`slices` has the leading metric on rows of one language, one length, one source; `missed`, where texts are searched, has
queries to read; `guard` has what the base could do and what is left of it, skill by skill. chrF is 0 to 100, ROUGE-L
and the exact stop rate 0 to 1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from setsail.base.errors import ArtifactError
from setsail.evaluate.class_scores import ClassReport
from setsail.evaluate.contamination import Contamination
from setsail.evaluate.guard import Guard
from setsail.evaluate.interval import Decision, Interval
from setsail.evaluate.ladder import Ladder
from setsail.evaluate.more_rows import MoreRows
from setsail.evaluate.slices import Slices
from setsail.evaluate.verdict import Comparison

FILE = "evaluation.json"
FORMAT = 1


@dataclass(frozen=True)
class SystemScores:
    """One system's metrics with their intervals; `corpus_chrf` is over all rows at once and has none."""

    metrics: Mapping[str, Interval]
    corpus_chrf: float | None


@dataclass(frozen=True)
class SampleAnswer:
    """One system's answer to a sample row; `stopped` is None for what is no model."""

    text: str
    chrf: float
    stopped: bool | None


@dataclass(frozen=True)
class Sample:
    """A test row with every system's answer, to be read beside its reference; messages have role and content."""

    row_id: str
    prompt: tuple[Mapping[str, str], ...]
    reference: str
    answers: Mapping[str, SampleAnswer]


@dataclass(frozen=True)
class Missed:
    """A query for which another text stands first: the text that was wanted, and its rank, None below a hundred."""

    row_id: str
    query: str
    wanted: str
    first: str
    rank: int | None


@dataclass(frozen=True)
class Evaluation:
    """What was measured on how many rows, what it decides, and what it looks like."""

    format: int
    num_rows: int
    num_groups: int
    resamples: int
    seed: int
    contamination: Contamination | None
    systems: Mapping[str, SystemScores]
    comparisons: tuple[Comparison, ...]
    decision: Decision
    verdict: str
    samples_how: str
    samples: tuple[Sample, ...]
    classes: ClassReport | None = None
    ladder: Ladder | None = None
    more_rows: MoreRows | None = None
    missed: tuple[Missed, ...] = ()
    guard: Guard | None = None
    slices: Slices | None = None


def write_evaluation(path: Path, evaluation: Evaluation) -> None:
    """evaluation.json, indented, UTF-8, no NaN."""
    text = json.dumps(asdict(evaluation), ensure_ascii=False, indent=1, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def read_evaluation(path: Path) -> Evaluation:
    """The evaluation that a file holds.

    Raises: ArtifactError if it is damaged or of another format.
    """
    try:
        evaluation = TypeAdapter(Evaluation).validate_json(path.read_bytes())
    except ValidationError as error:
        raise ArtifactError("the evaluation cannot be read", place=str(path), hint="evaluate again") from error
    if evaluation.format != FORMAT:
        raise ArtifactError(
            f"the evaluation has format {evaluation.format}, this setsail reads {FORMAT}",
            place=str(path),
            hint="use the setsail that wrote it, or evaluate again",
        )
    return evaluation
