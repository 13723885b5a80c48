"""What a report is made of: plain frozen values that a stage fills and that JSON can hold.

No value is computed here and none is optional for the page's sake: what a voyage did not do is left empty, and its
chapter is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from setsail.evaluate.evaluation import Evaluation


@dataclass(frozen=True)
class WaterfallStep:
    """One step of preparing and the rows left after it."""

    step: str
    rows_left: int


@dataclass(frozen=True)
class RenderedRow:
    """A training row as the model sees it: stretches of text, True where the tokens are supervised."""

    row_id: str
    origin: str
    runs: tuple[tuple[str, bool], ...]


@dataclass(frozen=True)
class DataFacts:
    """What went in, step by step; rows dropped and changed by reason, values masked by kind; findings in sentences; the
    split; rows as the model sees them; and the file beside the report that tells all about the data. The reasons
    are the codes of `data.summary`."""

    source: str = ""
    waterfall: tuple[WaterfallStep, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    changed: Mapping[str, int] = field(default_factory=dict)
    redacted: Mapping[str, int] = field(default_factory=dict)
    findings: tuple[str, ...] = ()
    split: Mapping[str, int] = field(default_factory=dict)
    page: str = ""
    rendered: tuple[RenderedRow, ...] = ()


@dataclass(frozen=True)
class PlanFacts:
    """What was announced before the first step, and what came of it; None where it was not measured."""

    num_rows: int
    num_tokens: int
    num_supervised: int
    num_truncated: int
    num_steps: int
    predicted_seconds: float | None = None
    actual_seconds: float | None = None
    predicted_memory_bytes: int | None = None
    actual_memory_bytes: int | None = None
    core_hours: float | None = None


@dataclass(frozen=True)
class CurvePoint:
    """One training step: tokens seen so far, mean loss in nats per target, learning rate."""

    step: int
    num_tokens: int
    loss_nats: float
    learning_rate: float


@dataclass(frozen=True)
class ValidationPoint:
    """What validation measured after a step; step 0 is the model before training."""

    step: int
    value: float


@dataclass(frozen=True)
class SampledTexts:
    """What the model made of the recipe's samples after a step."""

    step: int
    texts: tuple[str, ...]


@dataclass(frozen=True)
class TrainingFacts:
    """How it was trained: a line about the method, the plan, the curve, and the rows that were cut short by id.

    `measure` names the metric of the validation points.
    """

    method: str = ""
    plan: PlanFacts | None = None
    steps: tuple[CurvePoint, ...] = ()
    validation: tuple[ValidationPoint, ...] = ()
    measure: str = "bits_per_byte"
    samples: tuple[SampledTexts, ...] = ()
    truncated: tuple[str, ...] = ()


@dataclass(frozen=True)
class Check:
    """One check of one stage of the faithfulness table: what was measured, what is allowed, and whether it holds.

    `allowed` says the rule in words or signs, such as "≤ 0.001" or "all equal".
    """

    stage: str
    check: str
    value: float
    allowed: str
    passed: bool


@dataclass(frozen=True)
class FileFact:
    """A file that the voyage leaves behind."""

    name: str
    num_bytes: int
    sha256: str


@dataclass(frozen=True)
class StageTime:
    """How long a stage took; `skipped` when its result was there already."""

    stage: str
    seconds: float
    skipped: bool = False


@dataclass(frozen=True)
class Licence:
    """What something may be used under, and where it came from."""

    what: str
    licence: str
    source: str = ""


@dataclass(frozen=True)
class Origins:
    """What the result was made with and from: times per stage, package versions, the machine, licences."""

    times: tuple[StageTime, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, str] = field(default_factory=dict)
    licences: tuple[Licence, ...] = ()


@dataclass(frozen=True)
class Command:
    """Something to type next, and what it does."""

    command: str
    meaning: str


@dataclass(frozen=True)
class ReportFacts:
    """A whole voyage. Only `name` and `created` are always there; `base` names the model it started from."""

    name: str
    created: str
    base: str = ""
    recipe: str = ""
    data: DataFacts = DataFacts()
    training: TrainingFacts = TrainingFacts()
    evaluation: Evaluation | None = None
    faithfulness: tuple[Check, ...] = ()
    files: tuple[FileFact, ...] = ()
    origins: Origins = Origins()
    commands: tuple[Command, ...] = ()
