"""The page that a person reads at the end of a voyage: report.html and report.md from plain facts.

`build` writes both from the same chapters, so that they cannot disagree. Facts come in as dataclasses (`facts.py`);
nothing here reads a run folder, measures or decides.
"""

from setsail.evaluate.report.build import build
from setsail.evaluate.report.facts import (
    Check,
    Command,
    CurvePoint,
    DataFacts,
    FileFact,
    Licence,
    Origins,
    PlanFacts,
    RenderedRow,
    ReportFacts,
    SampledTexts,
    StageTime,
    TrainingFacts,
    ValidationPoint,
    WaterfallStep,
)

__all__ = [
    "Check",
    "Command",
    "CurvePoint",
    "DataFacts",
    "FileFact",
    "Licence",
    "Origins",
    "PlanFacts",
    "RenderedRow",
    "ReportFacts",
    "SampledTexts",
    "StageTime",
    "TrainingFacts",
    "ValidationPoint",
    "WaterfallStep",
    "build",
]
