"""The guides quote the benchmark, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from setsail.data.privacy.registry import KINDS

ROOT = Path(__file__).parent.parent.parent
ROWS = json.loads((ROOT / "benchmarks" / "results" / "privacy.json").read_text("utf-8"))["rows"]
SETS = ("English sentences", "Chinese sentences", "presidio-research", "newspaper")


def figures() -> list[str]:
    """A line for each kind: recall of ours and of Presidio's patterns in each set, "–" where there is none."""
    shown = []
    for kind in KINDS:
        cells = [cell(f"{name}: {kind} recall") for name in SETS]
        if any(text != "–" for text in cells):
            shown.append(f"| `{kind.lower()}` | {' | '.join(cells)} |")
    return shown


def cell(work: str) -> str:
    ours = [row["value"] for row in ROWS if row["work"] == work and row["who"] == "setsail"]
    theirs = [row["value"] for row in ROWS if row["work"] == work and row["who"] != "setsail"]
    return " / ".join(f"{value:.1%}" for value in (*ours, *theirs)) or "–"


@pytest.mark.parametrize("name", ["privacy.md", "privacy.zh-CN.md"])
def test_the_guide_quotes_the_benchmark(name: str) -> None:
    text = (ROOT / "docs" / "guides" / name).read_text("utf-8")
    assert [line for line in text.splitlines() if line.startswith("| `") and "%" in line] == figures()
