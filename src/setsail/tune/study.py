"""The memory of a search: every trial in one SQLite file, what to try next, and which trials are not worth their time.

The only file that knows optuna. The invariant: what is suggested is a function of the seed, the number of the trial and
the trials that have ended, so that a search that was killed goes on as one never stopped.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from setsail.base.errors import ArtifactError, SystemRefusal
from setsail.base.files import explained_os_errors
from setsail.tune.space import Range, Space, label_of
from setsail.tune.trial import Forecast, Result, State, Trial

FILE = "study.db"
Sampling = Literal["tpe", "random"]
NUM_RANDOM = 6  # trials before the sampler leans on what it has seen
NUM_BEFORE_PRUNING = 4  # trials that must have ended well before others are held against them
FIRST_PRUNED_TICK = 2
_STATES: dict[str, State] = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "WAITING": "waiting"}


def optuna() -> Any:
    """The library that searches; it comes with an extra.

    Raises:
        SystemRefusal: it is not installed.
    """
    try:
        library = importlib.import_module("optuna")
    except ImportError as error:
        hint = "pip install 'setsail[tune]'"
        raise SystemRefusal("the search needs optuna, which is not installed", hint=hint) from error
    library.logging.set_verbosity(library.logging.ERROR)
    return library


@dataclass(frozen=True)
class Study:
    """One search over one space; `is_new` when nothing of it was remembered, `others` counts searches beside it."""

    inner: Any
    storage: Any
    space: Space
    seed: int
    sampling: Sampling
    is_new: bool
    others: int

    @property
    def spent_seconds(self) -> float:
        """The time that this search has taken, over all its starts."""
        return float(self.inner.user_attrs.get("spent_seconds", 0.0))

    def note_spent(self, seconds: float) -> None:
        self.inner.set_user_attr("spent_seconds", round(seconds, 2))

    def enqueue(self, settings: Mapping[str, Any], *, is_own: bool = False) -> None:
        """Has these settings tried before any suggestion; `is_own` marks those that were there before the search."""
        labels = {name: label_of(value) for name, value in settings.items()}
        self.inner.enqueue_trial(labels, user_attrs={"is_own": is_own}, skip_if_exists=True)

    def ask(self) -> Trial:
        """The next trial, which runs from now on: one that waits, or a new suggestion."""
        library = optuna()
        asked = self.inner.ask()
        chance = random.Random(f"{self.seed}:{asked.number}").randrange(2**32)
        if self.sampling == "random":
            self.inner.sampler = library.samplers.RandomSampler(seed=chance)
        else:
            self.inner.sampler = library.samplers.TPESampler(seed=chance, n_startup_trials=NUM_RANDOM)
        kind = None
        for name in self.space.order():
            if self.space.applies(name, kind):
                drawn = self._draw(asked, name)
                kind = drawn if name == self.space.kind else kind
        asked.set_user_attr("attempts", asked.user_attrs.get("attempts", 0) + 1)
        return self.trial(asked.number)

    def _draw(self, asked: Any, name: str) -> Any:
        values = self.space.settings[name].values
        if not isinstance(values, Range):
            return asked.suggest_categorical(name, values.labels)
        if values.whole:
            return asked.suggest_int(name, int(values.low), int(values.high), log=values.log)
        return asked.suggest_float(name, values.low, values.high, log=values.log)

    def plan(self, number: int, forecast: Forecast) -> None:
        """Notes what a trial will take and where its work lies."""
        noted = {
            "predicted_seconds": forecast.seconds,
            "memory_bytes": forecast.memory_bytes,
            "folder": forecast.folder,
        }
        self.storage.set_trial_user_attr(self._id(number), "plan", noted)

    def report(self, number: int, tick: int, score: float) -> bool:
        """Notes the score at a tick; whether the trial should end, since the median of those that ended was better."""
        id = self._id(number)
        if tick not in self.storage.get_trial(id).intermediate_values:
            self.storage.set_trial_intermediate_value(id, tick, score)
        pruner = optuna().pruners.MedianPruner(NUM_BEFORE_PRUNING, FIRST_PRUNED_TICK)
        return bool(pruner.prune(self.inner, self.storage.get_trial(id)))

    def complete(self, number: int, result: Result, *, seconds: float, at: float, same_as: int | None = None) -> None:
        """Ends a trial with its score."""
        facts = {**result.facts, "folder": result.folder}
        self._end(number, {"facts": facts, "same_as": same_as}, seconds=seconds, at=at)
        self.storage.set_trial_state_values(self._id(number), optuna().trial.TrialState.COMPLETE, [result.score])

    def prune(self, number: int, why: str, *, seconds: float, at: float, same_as: int | None = None) -> None:
        """Ends a trial that others had left behind."""
        self._end(number, {"why": why, "same_as": same_as}, seconds=seconds, at=at)
        reported = self.storage.get_trial(self._id(number)).intermediate_values
        values = [reported[max(reported)]] if reported else None
        self.storage.set_trial_state_values(self._id(number), optuna().trial.TrialState.PRUNED, values)

    def fail(self, number: int, why: str, *, seconds: float, at: float, same_as: int | None = None) -> None:
        """Ends a trial that came to nothing."""
        self._end(number, {"why": why, "same_as": same_as}, seconds=seconds, at=at)
        self.storage.set_trial_state_values(self._id(number), optuna().trial.TrialState.FAIL)

    def put_back(self, number: int, *, seconds: float = 0.0) -> None:
        """Lets a running trial wait, to go on under its number at the next `ask`."""
        self._end(number, {}, seconds=seconds, at=0.0)
        self.storage.set_trial_state_values(self._id(number), optuna().trial.TrialState.WAITING)

    def put_back_running(self) -> list[int]:
        """Lets every trial wait that ran when an earlier start was killed; which they are."""
        left = [trial.number for trial in self.trials() if trial.state == "running"]
        for number in left:
            self.put_back(number)
            kills = self.trial(number).kills + 1
            self.storage.set_trial_user_attr(self._id(number), "kills", kills)
        return left

    def _end(self, number: int, attrs: Mapping[str, Any], *, seconds: float, at: float) -> None:
        id = self._id(number)
        before = self.storage.get_trial(id).user_attrs.get("end", {}).get("seconds", 0.0)
        noted = {**attrs, "seconds": round(before + seconds, 2), "ended_at": round(at, 2)}
        self.storage.set_trial_user_attr(id, "end", noted)

    def _id(self, number: int) -> int:
        return self.storage.get_trial_id_from_study_id_trial_number(self.inner._study_id, number)

    def trial(self, number: int) -> Trial:
        """The trial of that number."""
        return self._trial(self.storage.get_trial(self._id(number)))

    def trials(self) -> list[Trial]:
        """All trials by number."""
        return [self._trial(each) for each in self.storage.get_all_trials(self.inner._study_id)]

    def _trial(self, frozen: Any) -> Trial:
        attrs = frozen.user_attrs
        state = _STATES.get(frozen.state.name, "running")
        end = attrs.get("end", {})
        own = {"is_own": True} if attrs.get("is_own") else {}
        return Trial(
            number=frozen.number,
            state=state,
            settings={name: self._value(name, label) for name, label in frozen.params.items()},
            score=frozen.value if state == "complete" else None,
            seconds=end.get("seconds", 0.0),
            ended_at=end.get("ended_at", 0.0),
            attempts=attrs.get("attempts", 0),
            kills=attrs.get("kills", 0),
            facts={**attrs.get("plan", {}), **end.get("facts", {}), **own},
            why=end.get("why", ""),
            same_as=end.get("same_as"),
        )

    def _value(self, name: str, label: Any) -> Any:
        values = self.space.settings[name].values
        return label if isinstance(values, Range) else values.value(label)

    def best(self) -> Trial | None:
        """The trial with the least score, the earliest of equals."""
        ended = [trial for trial in self.trials() if trial.score is not None]
        return min(ended, key=lambda trial: (trial.score, trial.number)) if ended else None

    def importance(self) -> dict[str, float]:
        """How much of what the scores differ by each setting explains, as shares; nothing where too few trials tell.

        Source: Watanabe, Bansal and Hutter 2023, PED-ANOVA (arXiv 2304.10255), as optuna has it.
        """
        ended = [trial for trial in self.trials() if trial.score is not None]
        if len(ended) < NUM_BEFORE_PRUNING or len({trial.score for trial in ended}) < 2:
            return {}
        return dict(optuna().importance.get_param_importances(self.inner))


def open_study(folder: Path, fingerprint: str, space: Space, *, seed: int, sampling: Sampling = "tpe") -> Study:
    """The search of that fingerprint in a folder's file, begun or gone on with.

    Raises:
        SystemRefusal: optuna is not installed, or the folder cannot be written.
        ArtifactError: the file is damaged.
    """
    library = optuna()
    with explained_os_errors(f"opening the search in {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).open("ab").close()

    def begin() -> Study:
        storage = library.storages.RDBStorage(f"sqlite:///{(folder / FILE).resolve()}")
        names = library.get_all_study_names(storage)
        inner = library.create_study(storage=storage, study_name=fingerprint, load_if_exists=True)
        is_new = fingerprint not in names
        return Study(inner, storage, space, seed, sampling, is_new, len(names) - (not is_new))

    return _explained(begin, folder / FILE)


def _explained(work: Callable[[], Study], file: Path) -> Study:
    """Says of a file that is no database what it is and what helps."""
    errors = importlib.import_module("sqlalchemy.exc")
    try:
        return work()
    except (errors.DatabaseError, AssertionError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        hint = "delete it to begin the search anew; models that were trained are kept"
        raise ArtifactError(f"the search's memory cannot be read: {reason}", place=str(file), hint=hint) from error
