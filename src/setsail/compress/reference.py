"""What the trainer did with the held-out prompts at the end of training, as the file beside its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from setsail.compress.check import Answer, Observation, Probe

FILE = "reference.json"


@dataclass(frozen=True)
class Reference:
    """What the trainer did at the end of training."""

    probes: tuple[Probe, ...]
    trainer: Observation

    def as_json(self) -> dict[str, Any]:
        return {"format": 1, "probes": [asdict(probe) for probe in self.probes], "trainer": asdict(self.trainer)}

    @classmethod
    def read(cls, file: Path) -> Reference:
        """What a file holds."""
        return cls.from_json(json.loads(file.read_text("utf-8")))

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Reference:
        probes = tuple(_probe(**probe) for probe in raw["probes"])
        trainer = raw["trainer"]
        answers = tuple(_answer(**answer) for answer in trainer["answers"])
        return cls(probes, Observation(trainer["stage"], trainer["precision"], answers))


def _probe(
    *, messages: Sequence[Mapping[str, str]], prompt_ids: list[int], answer_ids: list[int], **rest: Any
) -> Probe:
    return Probe(messages=tuple(messages), prompt_ids=tuple(prompt_ids), answer_ids=tuple(answer_ids), **rest)


def _answer(*, prompt_ids: list[int], text_ids: list[int], first: Mapping[str, float], **rest: Any) -> Answer:
    first_by_id = {int(token): value for token, value in first.items()}
    return Answer(prompt_ids=tuple(prompt_ids), text_ids=tuple(text_ids), first=first_by_id, **rest)
