"""The faithfulness check of a classifier: what was trained is what a saved folder says in anybody's hands.

The trainer's logits come from packed rows and the weights in its memory; a stage's from the folder, loaded plainly.
Both compute the same weights in float32, so that only rounding may part them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from setsail.compress.check import Finding

# A hundred times what clean runs showed (1e-5); a wrong position or a lost bias is a thousand times more.
MOST_LOGITS_OFF = 1e-3


@dataclass(frozen=True)
class LabelProbe:
    """One held-out text with its token ids, and the trainer's logits in the order of the labels."""

    row_id: str
    text: str
    ids: tuple[int, ...]
    logits: tuple[float, ...]


@dataclass(frozen=True)
class LabelReference:
    """What the trainer said at the end of training."""

    labels: tuple[str, ...]
    probes: tuple[LabelProbe, ...]

    def as_json(self) -> dict[str, Any]:
        return {"format": 1, "labels": list(self.labels), "probes": [asdict(probe) for probe in self.probes]}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> LabelReference:
        probes = tuple(
            LabelProbe(probe["row_id"], probe["text"], tuple(probe["ids"]), tuple(probe["logits"]))
            for probe in raw["probes"]
        )
        return cls(tuple(raw["labels"]), probes)


@dataclass(frozen=True)
class LabelObservation:
    """What one stage makes of the probes: its labels, and for each text its token ids and logits."""

    stage: str
    labels: tuple[str, ...]
    ids: tuple[tuple[int, ...], ...]
    logits: tuple[tuple[float, ...], ...]


def compare_labels(reference: LabelReference, seen: LabelObservation) -> list[Finding]:
    """Every comparison of one stage with the trainer."""
    named = sum(ours != theirs for ours, theirs in zip(reference.labels, seen.labels, strict=False))
    named += abs(len(reference.labels) - len(seen.labels))
    findings = [Finding(seen.stage, "labels of another name", named, 0, named == 0)]
    pairs = list(zip(reference.probes, seen.ids, seen.logits, strict=True))
    other_ids = [probe.row_id for probe, ids, _ in pairs if probe.ids != ids]
    detail = f"first row {other_ids[0]}" if other_ids else ""
    findings.append(Finding(seen.stage, "texts with other token ids", len(other_ids), 0, not other_ids, detail))
    if named:
        return findings
    off = max(
        (abs(a - b) for probe, _, logits in pairs for a, b in zip(probe.logits, logits, strict=True)), default=0.0
    )
    findings.append(Finding(seen.stage, "logits, largest difference", off, MOST_LOGITS_OFF, off <= MOST_LOGITS_OFF))
    other = [probe.row_id for probe, _, logits in pairs if _best(probe.logits) != _best(logits)]
    detail = f"first row {other[0]}" if other else ""
    findings.append(Finding(seen.stage, "texts with another label", len(other), 0, not other, detail))
    return findings


def _best(logits: Sequence[float]) -> int:
    return max(range(len(logits)), key=lambda index: logits[index])
