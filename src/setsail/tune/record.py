"""What a search came to, as `tune.json` keeps it and as the page and the terminal show it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from setsail.base.files import explained_os_errors, write_atomically
from setsail.base.log import duration
from setsail.tune.study import Study
from setsail.tune.trial import Trial

FILE = "tune.json"
FORMAT = 1
MOST_LINES = 12  # trials in a terminal


@dataclass(frozen=True)
class Record:
    """A search: its trials, the best of them, what mattered, and what the best recipe came to on the test.

    `curve` has for each trial that was better than all before it the second of the search, its score and its number.
    `best` may be a model that is no recipe's (`linear`); `recipe_trial` is the trial of which best.yaml is made.
    `test` holds the figures of the best on rows that the search never saw, each with its interval.
    """

    name: str
    measure: str
    ended: str
    seconds: float
    budget_seconds: float | None
    space: Mapping[str, Any]
    trials: tuple[Trial, ...]
    best: int | None
    recipe_trial: int | None
    importance: Mapping[str, float]
    curve: tuple[tuple[float, float, int], ...]
    test: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)

    def trial(self, number: int) -> Trial:
        """The trial of that number."""
        return next(trial for trial in self.trials if trial.number == number)

    def ranked(self) -> list[Trial]:
        """Trials with a score, the best first; the same settings once."""
        scored = [trial for trial in self.trials if trial.score is not None and trial.same_as is None]
        return sorted(scored, key=lambda trial: (trial.score, trial.number))

    def count(self, state: str) -> int:
        """How many different trials are in that state."""
        return sum(trial.state == state and trial.same_as is None for trial in self.trials)


def curve_of(trials: Sequence[Trial]) -> tuple[tuple[float, float, int], ...]:
    """The best score against time: a point for each trial that was better than all that had ended before it."""
    points: list[tuple[float, float, int]] = []
    scored = [trial for trial in trials if trial.score is not None]
    for trial in sorted(scored, key=lambda trial: (trial.ended_at, trial.number)):
        assert trial.score is not None
        if not points or trial.score < points[-1][1]:
            points.append((trial.ended_at, trial.score, trial.number))
    return tuple(points)


def record_of(
    study: Study, name: str, measure: str, *, ended: str, budget_seconds: float | None, recipe_trial: int | None
) -> Record:
    """What a study has come to so far."""
    trials, best = tuple(study.trials()), study.best()
    return Record(
        name=name,
        measure=measure,
        ended=ended,
        seconds=round(study.spent_seconds, 1),
        budget_seconds=budget_seconds,
        space=study.space.described(),
        trials=trials,
        best=None if best is None else best.number,
        recipe_trial=recipe_trial,
        importance=study.importance(),
        curve=curve_of(trials),
    )


def write_record(folder: Path, record: Record) -> None:
    """Writes tune.json."""
    values = {"format": FORMAT, "better": "lower", **asdict(record)}
    with explained_os_errors("writing what the search came to"):
        write_atomically(folder / FILE, json.dumps(values, ensure_ascii=False, indent=1) + "\n")


def shown(value: Any) -> str:
    """A setting's value in a few characters.

    >>> shown(0.00031622), shown({"new": "1m", "kind": "lstm"}), shown(4.0)
    ('0.0003162', 'new 1m lstm', '4')
    """
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return " ".join(str(each) if key != "new" else f"new {each}" for key, each in value.items())
    text = str(value)
    return text.rsplit("/", 1)[-1] if text.startswith("..") else text


def settings_line(trial: Trial) -> str:
    """A trial's settings in one line, by the last word of their names."""
    return "  ".join(f"{name.rsplit('.', 1)[-1]} {shown(value)}" for name, value in trial.settings.items())


def table(record: Record) -> list[str]:
    """The best trials as lines of a terminal."""
    lines = [f"{'trial':>5}  {record.measure.replace('_', ' '):>20}  {'took':>12}  settings"]
    for trial in record.ranked()[:MOST_LINES]:
        lines.append(f"{trial.number:>5}  {trial.score:>20.4f}  {duration(trial.seconds):>12}  {settings_line(trial)}")
    more = len(record.ranked()) - MOST_LINES
    return lines + ([f"       and {more} more in {FILE}"] if more > 0 else [])
