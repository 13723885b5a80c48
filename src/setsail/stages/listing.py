"""Listing runs: what has been made of each, how large it is, and what the evaluation said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from setsail.base.artifact import total_bytes
from setsail.base.errors import ArtifactError
from setsail.base.log import Log, size
from setsail.base.run import Run, find_runs


def list_runs(root: Path, *, as_json: bool = False) -> None:
    """Prints a line for each run, or all of them as JSON."""
    runs = [_describe(run) for run in find_runs(root)]
    if as_json:
        print(json.dumps(runs, ensure_ascii=False, indent=1))
        return
    if not runs:
        Log().say(f"no runs in {root}/   next: setsail run RECIPE")
    for run in runs:
        problem = f"  ! {run['problem']}" if run["problem"] else ""
        print(f"{run['folder']:<28} {size(run['bytes']):>10}  {', '.join(run['stages'])}{problem}")
        if run["verdict"]:
            print(f"{'':<28} {'':>10}  {run['verdict']}")


def _describe(run: Run) -> dict[str, Any]:
    known: dict[str, Any] = {"folder": str(run.path), "stages": [], "bytes": 0, "verdict": "", "problem": ""}
    try:
        artifacts = {
            stage: run.artifact(stage, verify=False)
            for stage, folder in run.current().items()
            # Tokens are made again when training needs them: a run from which they were deleted lacks nothing.
            if stage != "tokens" or (run.path / folder).exists()
        }
    except ArtifactError as error:
        return {**known, "problem": error.message}
    known["stages"] = list(artifacts)
    known["bytes"] = total_bytes(list({artifact.id: artifact for artifact in artifacts.values()}.values()))
    if "evaluate" in artifacts:
        known["verdict"] = artifacts["evaluate"].metrics.get("verdict", "")
    return known
