"""What a task asks of the training stage: a model, examples, an objective, and what is measured on the way.

What does not live here: the subjects themselves (`language.py`, `classifying.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from setsail.data.row import Row
from setsail.stages.examples import Examples
from setsail.tokens.pack import Example
from setsail.train.objective import Batch, Objective


@dataclass(frozen=True)
class Measure:
    """What validation is judged by, less being better: its key in the journal, and its unit in words."""

    key: str
    unit: str


BITS_PER_BYTE = Measure("bits_per_byte", "bits per byte")
NATS_PER_ROW = Measure("nats_per_row", "nats per row")


@dataclass(frozen=True)
class Subject:
    """What is taught.

    `load` takes the base's folder, `batch` puts examples side by side, `validate` gives figures of which `measure` is
    judged, `finish` adds to a saved model folder what only the subject knows, `show` writes an example for a person,
    `observe` records what the trainer itself answers at the end.
    """

    objective: Objective
    measure: Measure
    most_validation_rows: int
    micro_batch_tokens: int
    load: Callable[[Path], PreTrainedModel]
    examples: Callable[[Sequence[Row]], Examples]
    batch: Callable[[Sequence[Example]], Batch]
    validate: Callable[[PreTrainedModel, Examples], Mapping[str, float]]
    finish: Callable[[Path], None]
    show: Callable[[Example], str]
    observe: Callable[[PreTrainedModel], Mapping[str, Any]]
