"""Sails every recipe in recipes/ in full, one after the other, and prints one table of what came out.

    scripts/recipes.py [--runs runs/recipes] [NAME ...]

A recipe that fails is told at the end and the others go on. What is finished is recognised by setsail itself: the same
command goes on where it was stopped, and tells the table of finished runs within a minute.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from setsail.base.errors import SetsailError
from setsail.base.recipe_file import load_recipe
from setsail.base.run import Run
from setsail.evaluate import numbers
from setsail.evaluate.evaluation import Evaluation, read_evaluation
from setsail.evaluate.metrics import METRICS
from setsail.evaluate.verdict import METRIC_NAMES, system_name

ROOT = Path(__file__).parent.parent
HEADER = ("recipe", "task", "tuned", "best rung", "verdict", "minutes")
DECISIONS = {"better": "better", "not_shown": "not shown better", "worse": "worse"}
TABLES = (".csv", ".jsonl", ".json", ".txt")  # of one's own: a recipe whose table is not there is left out


@dataclass(frozen=True)
class Line:
    """What one recipe came to: the cells of the table, or why there are none."""

    name: str
    cells: tuple[str, ...] = ()
    problem: str = ""
    is_failure: bool = True


def main() -> int:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("names", nargs="*", metavar="NAME", help="a recipe's name; all without any")
    arguments.add_argument("--runs", type=Path, default=Path("runs/recipes"), help="where the runs are kept")
    asked = arguments.parse_args()
    known = {path.stem: path for path in sorted((ROOT / "recipes").glob("*.yaml"))}
    unknown = [name for name in asked.names if name not in known]
    if unknown:
        print(f"no recipe {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    lines = [sailed(known[name], asked.runs) for name in asked.names or known]
    print(table([line for line in lines if not line.problem]))
    without = [line for line in lines if line.problem]
    for line in without:
        print(f"{line.name} {'failed' if line.is_failure else 'is left out'}: {line.problem}", file=sys.stderr)
    return int(any(line.is_failure for line in without))


def sailed(path: Path, runs: Path) -> Line:
    """The line of a recipe that is sailed to its end, or to where it failed."""
    source = load_recipe(path).recipe.data.source
    if source.endswith(TABLES) and ":" not in source and not (path.parent / source).exists():
        return Line(path.stem, problem=f"{source} is yours to put beside {path.name}", is_failure=False)
    print(f"== {path.stem}", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "setsail", "run", str(path), "--runs", str(runs)]
    code = subprocess.run(command, check=False).returncode
    if code:
        return Line(path.stem, problem=f"setsail run {path} ended with code {code}")
    try:
        return line_of(path, runs)
    except SetsailError as error:
        return Line(path.stem, problem=str(error))


def line_of(path: Path, runs: Path) -> Line:
    """What a finished run says of itself. Raises: SetsailError where it is not finished."""
    recipe = load_recipe(path).recipe
    run = Run(runs / recipe.name)
    stages = [run.artifact(stage, verify=False) for stage in run.current()]
    minutes = sum(float(stage.metrics.get("seconds", 0.0)) for stage in stages) / 60
    found = read_evaluation(run.artifact("evaluate").file("evaluation.json"))
    figure, best = tuned_and_best(found)
    cells = (recipe.name, recipe.task, figure, best, DECISIONS.get(found.decision, found.decision), f"{minutes:.1f}")
    return Line(path.stem, cells)


def tuned_and_best(found: Evaluation) -> tuple[str, str]:
    """The main figure of the tuned model with its interval, and the system that has the best one."""
    scores = {name: system.metrics for name, system in found.systems.items()}
    judged = (metric.name for metric in METRICS if metric.judged and metric.name in scores["tuned"])
    lead = found.ladder.metric if found.ladder else next(judged)
    better = next(metric.better for metric in METRICS if metric.name == lead)
    have = {name: metrics[lead].value for name, metrics in scores.items() if lead in metrics}
    best = (max if better == "higher" else min)(have, key=lambda name: have[name])
    interval = scores["tuned"][lead]
    value, between = numbers.metric_value(lead, interval.value), numbers.metric_interval(lead, interval)
    named = f"{system_name(best)} {numbers.metric_value(lead, have[best])}"
    return f"{METRIC_NAMES[lead][0]} {value} {between}", named


def table(lines: list[Line]) -> str:
    """The lines as a table of Markdown."""
    rows = [HEADER, tuple("---" for _ in HEADER), *(line.cells for line in lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    sys.exit(main())
