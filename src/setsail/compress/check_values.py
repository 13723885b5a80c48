"""The faithfulness check of encoders that say numbers of texts: a vector of each, or a score of a query with a text.

The trainer's values come from packed rows and the weights in its memory; a stage's from the folder, loaded plainly.
Both compute the same weights in float32, so that only rounding may part them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from setsail.compress.check import Finding

# As for logits in check_classifier.py: a hundred times what clean runs showed.
MOST_OFF = 1e-3


@dataclass(frozen=True)
class ValueProbe:
    """One held-out text, or a query and a text, with its token ids and what the trainer says of it."""

    row_id: str
    texts: tuple[str, ...]
    ids: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class ValueReference:
    """What the trainer said at the end of training; `noun` is what the values are: vectors or scores."""

    noun: str
    probes: tuple[ValueProbe, ...]

    def as_json(self) -> dict[str, Any]:
        return {"format": 1, "noun": self.noun, "probes": [asdict(probe) for probe in self.probes]}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> ValueReference:
        probes = tuple(
            ValueProbe(probe["row_id"], tuple(probe["texts"]), tuple(probe["ids"]), tuple(probe["values"]))
            for probe in raw["probes"]
        )
        return cls(raw["noun"], probes)


@dataclass(frozen=True)
class ValueObservation:
    """What one stage makes of the probes: for each its token ids and its values."""

    stage: str
    ids: tuple[tuple[int, ...], ...]
    values: tuple[tuple[float, ...], ...]


def compare_values(reference: ValueReference, seen: ValueObservation) -> list[Finding]:
    """Every comparison of one stage with the trainer."""
    pairs = list(zip(reference.probes, seen.ids, seen.values, strict=True))
    other_ids = [probe.row_id for probe, ids, _ in pairs if probe.ids != ids]
    detail = f"first row {other_ids[0]}" if other_ids else ""
    findings = [Finding(seen.stage, "texts with other token ids", len(other_ids), 0, not other_ids, detail)]
    other_sizes = sum(len(probe.values) != len(values) for probe, _, values in pairs)
    if other_sizes:
        return [*findings, Finding(seen.stage, f"{reference.noun} of another size", other_sizes, 0, False)]
    off = max(
        (abs(a - b) for probe, _, values in pairs for a, b in zip(probe.values, values, strict=True)), default=0.0
    )
    return [*findings, Finding(seen.stage, f"{reference.noun}, largest difference", off, MOST_OFF, off <= MOST_OFF)]
