"""The forms of a trained encoder that an evaluation scores: its folder, and what was rounded to eight bits.

A file in float32 says what the folder says, which the check proves; what eight bits cost is measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from setsail.base.artifact import Artifact
from setsail.models.onnx_model import OnnxModel, load_onnx, read_settings
from setsail.stages.spent import core_seconds_of

INT8 = "int8"  # among the systems, as among the precisions


@dataclass(frozen=True)
class Forms:
    """The base, what was trained of it, and what was exported from that."""

    base: Artifact
    trained: Artifact
    exported: Artifact | None = None

    def models(self) -> dict[str, Artifact]:
        """What an evaluation's identity is made of."""
        there = {"base": self.base, "tuned": self.trained}
        return there if self.exported is None else {**there, "onnx": self.exported}

    def rounded(self) -> Iterator[tuple[str, OnnxModel]]:
        """The encoder in eight bits under the name of its system; nothing where none was exported."""
        if self.exported is not None and INT8 in read_settings(self.exported.path).weights:
            yield INT8, load_onnx(self.exported.path, INT8)

    @property
    def core_seconds(self) -> float:
        """What the exported form took to make, training included."""
        assert self.exported is not None
        return core_seconds_of(self.trained) + float(self.exported.metrics["core_seconds"])
