"""An exam: the rows that a finished model is asked, and the one way in which what came of it becomes an artefact.

What is asked of the model, and by which metrics, each task's own evaluation says (`class_scores.py`, `evaluate.py`, …).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from setsail.base.artifact import Artifact
from setsail.base.errors import UserError
from setsail.base.recipe import Recipe
from setsail.base.recipe_file import load_recipe
from setsail.base.run import Run
from setsail.data.row import read_rows
from setsail.evaluate import guard, ladder, more_rows
from setsail.evaluate.evaluation import Evaluation
from setsail.evaluate.numbers import metric_interval, metric_value
from setsail.evaluate.report.build import build_evaluation
from setsail.evaluate.slices import Slices
from setsail.stages.rows.data import Parts, read_parts
from setsail.stages.stage import StageSpec, Voyage, make

Pairs = tuple[tuple[str, str], ...]
OTHER = "other"  # the model of another run, among the systems


@dataclass(frozen=True)
class Exam:
    """What is asked: the held-out test of the data that the model learned from, or rows of a file that came later.

    `other` is a run whose model of the same task is asked the same; `is_own` says that this belongs to the voyage.
    """

    data: Artifact
    asked: Artifact | None = None
    other: Run | None = None
    is_own: bool = True

    @property
    def other_recipe(self) -> Recipe:
        """The recipe of the other run."""
        assert self.other is not None
        return load_recipe(self.other.path / "recipe.yaml").recipe

    def parts(self) -> Parts:
        """What was learned from, and what is asked as the test."""
        parts = read_parts(self.data)
        return parts if self.asked is None else replace(parts, test=read_rows(self.asked.file("test.parquet")))

    def others(self, kind: str) -> dict[str, Artifact]:
        """The other run's artefact of a kind, under the name of its system; nothing where there is no other run."""
        return {} if self.other is None else {OTHER: self.other.artifact(kind)}

    def unlike(self, what: str, own: str) -> UserError:
        """That two models cannot be compared."""
        assert self.other is not None
        hint = "compare runs of one task on the same kind of data"
        return UserError(f"the other model has {what}, and this one {own}", place=str(self.other.path), hint=hint)

    def compared(self, pairs: Pairs) -> Pairs:
        """The pairs that are compared: another run's model comes first."""
        return pairs if self.other is None else (("tuned", OTHER), *pairs)


def make_exam(
    voyage: Voyage,
    exam: Exam,
    evaluate: Callable[[Path], Evaluation],
    *,
    settings: Mapping[str, Any],
    models: Mapping[str, Artifact],
    version: int = 1,
) -> Artifact:
    """The artefact of an evaluation, told in lines; what is no part of the voyage gets a page of its own."""

    def build(draft: Path) -> Mapping[str, Any]:
        evaluation = evaluate(draft)
        for line in told(evaluation):
            voyage.log.say(f"  {line}")
        if not exam.is_own:
            build_evaluation(draft, evaluation, name=voyage.recipe.name, language=voyage.recipe.language)
        facts = {"verdict": evaluation.verdict, "decision": evaluation.decision, "num_rows": evaluation.num_rows}
        return facts | ({"ladder": ladder.sentence(evaluation.ladder)} if evaluation.ladder else {})

    parents = {"data": exam.data, **models}
    if exam.asked is not None:
        parents["asked"] = exam.asked
    kind = "evaluate" if exam.is_own else "exam"
    return make(voyage, StageSpec(kind, settings, parents, {}, version=version), build)


def told(evaluation: Evaluation) -> list[str]:
    """An evaluation as lines of a terminal: scores, rungs, the verdict, where to stop, what is weak."""
    lines = table(evaluation)
    if evaluation.ladder is not None:
        lines += rung_lines(evaluation.ladder)
    lines.append(evaluation.verdict)
    if evaluation.ladder is not None:
        lines.append(ladder.sentence(evaluation.ladder))
    if evaluation.more_rows is not None:
        lines.append(more_rows.sentence(evaluation.more_rows))
    if evaluation.guard is not None:
        lines += [*guard.table(evaluation.guard), guard.sentence(evaluation.guard)]
    return lines + (weak_lines(evaluation.slices) if evaluation.slices else [])


def table(evaluation: Evaluation) -> list[str]:
    """The scores as lines of a terminal: a system a column, a metric a row, 95 % intervals beside the values."""
    names = list(evaluation.systems)
    metrics = list(dict.fromkeys(metric for scores in evaluation.systems.values() for metric in scores.metrics))
    lines = [f"{'':<16}" + "".join(f"{name:>28}" for name in names)]
    for metric in metrics:
        cells = [scores.metrics.get(metric) for scores in evaluation.systems.values()]
        shown = [
            f"{metric_value(metric, cell.value)} {metric_interval(metric, cell)}" if cell else "–" for cell in cells
        ]
        lines.append(f"{metric:<16}" + "".join(f"{cell:>28}" for cell in shown))
    return lines


def rung_lines(climbed: ladder.Ladder) -> list[str]:
    """The ladder as lines of a terminal, the cheapest first."""
    lines = [f"{'to make':<16}{'core-seconds':>14}{'money':>12}{'a thousand answers':>20}"]
    for rung in climbed.rungs:
        cost, money = rung.cost, climbed.money(rung)
        lines.append(f"{rung.system:<16}{cost.making:>14.2f}{money:>12.5f}{cost.thousand:>18.2f} s")
    return lines


def weak_lines(slices: Slices) -> list[str]:
    """The slices on which the model is shown to be worse than on the whole."""
    system, whole = next(iter(slices.whole.items()))
    return [
        f"weak where {each.by} is {each.name.strip()}: {metric_value(slices.metric, each.scores[system].value)} "
        f"{metric_interval(slices.metric, each.scores[system])} on {each.num_rows} rows, "
        f"{metric_value(slices.metric, whole.value)} on all"
        for each in slices.weak
    ]
