"""One line of a benchmark's results: a work, a contestant at a setting, and what its runs came to."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field


@dataclass
class Row:
    """One line of the results; its value is the median of the runs."""

    work: str
    who: str
    setting: str
    runs: list[float] = field(default_factory=list)
    peak_bytes: int = 0
    note: str = ""
    unit: str = "MB/cpu_second"
    better: str = "higher"

    @property
    def value(self) -> float:
        return statistics.median(self.runs) if self.runs else 0.0
