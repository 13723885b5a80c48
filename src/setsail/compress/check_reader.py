"""The faithfulness check of a reader: what was trained is what a saved folder says in anybody's hands.

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
class ReadProbe:
    """One held-out text, or two, with the token ids, and the trainer's logits in the order of the labels.

    A line of logits for the text, or one for each of its tokens.
    """

    row_id: str
    texts: tuple[str, ...]
    ids: tuple[int, ...]
    logits: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class ReadReference:
    """What the trainer said at the end of training, and of which task."""

    task: str
    labels: tuple[str, ...]
    probes: tuple[ReadProbe, ...]

    def as_json(self) -> dict[str, Any]:
        probes = [asdict(probe) for probe in self.probes]
        return {"format": 2, "task": self.task, "labels": list(self.labels), "probes": probes}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> ReadReference:
        probes = tuple(
            ReadProbe(probe["row_id"], tuple(probe["texts"]), tuple(probe["ids"]), tuple(map(tuple, probe["logits"])))
            for probe in raw["probes"]
        )
        return cls(raw["task"], tuple(raw["labels"]), probes)


@dataclass(frozen=True)
class ReadObservation:
    """What one stage makes of the probes: its labels, and for each text its token ids and lines of logits."""

    stage: str
    labels: tuple[str, ...]
    ids: tuple[tuple[int, ...], ...]
    logits: tuple[tuple[tuple[float, ...], ...], ...]


def compare_readings(reference: ReadReference, seen: ReadObservation) -> list[Finding]:
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
    alike = [(probe.logits, logits) for probe, _, logits in pairs if len(probe.logits) == len(logits)]
    off = max((_off(ours, theirs) for ours, theirs in alike), default=0.0)
    findings.append(Finding(seen.stage, "logits, largest difference", off, MOST_LOGITS_OFF, off <= MOST_LOGITS_OFF))
    other = [probe.row_id for probe, _, logits in pairs if list(map(_best, probe.logits)) != list(map(_best, logits))]
    detail = f"first row {other[0]}" if other else ""
    findings.append(Finding(seen.stage, "texts with another label", len(other), 0, not other, detail))
    return findings


def _off(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> float:
    """The largest difference; of what is larger than one, as a share of it: scores have a scale of their own."""
    return max(
        abs(a - b) / max(1.0, abs(a))
        for left, right in zip(ours, theirs, strict=True)
        for a, b in zip(left, right, strict=True)
    )


def _best(logits: Sequence[float]) -> int:
    return max(range(len(logits)), key=lambda index: logits[index])
