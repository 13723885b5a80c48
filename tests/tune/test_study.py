"""The memory of a search: what it suggests, what it keeps, and that it goes on as if never stopped."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from objectives import BOWL, KINDS, bowl

from setsail.base.errors import ArtifactError, SystemRefusal
from setsail.tune.space import Range, Setting, Space
from setsail.tune.study import NUM_BEFORE_PRUNING, Sampling, Study, open_study
from setsail.tune.trial import Result, Trial, Watch

ALONE = Watch(0, planned=lambda forecast: None, reached=lambda tick, score: None)
SEEDS = (1, 2, 3, 4, 5)


def tried(study: Study, count: int, score: Callable[[Trial], float]) -> None:
    for _ in range(count):
        trial = study.ask()
        study.complete(trial.number, Result(score(trial)), seconds=1.0, at=float(trial.number))


def of_bowl(trial: Trial) -> float:
    return bowl(trial.settings, ALONE).score


def test_a_search_opened_anew_for_each_trial_suggests_what_one_never_closed_does(tmp_path: Path) -> None:
    whole = open_study(tmp_path / "whole", "bowl", BOWL, seed=7)
    tried(whole, 14, of_bowl)
    for _ in range(14):
        tried(open_study(tmp_path / "parts", "bowl", BOWL, seed=7), 1, of_bowl)
    parts = open_study(tmp_path / "parts", "bowl", BOWL, seed=7)
    assert [trial.settings for trial in parts.trials()] == [trial.settings for trial in whole.trials()]
    assert not parts.is_new and len({str(trial.settings) for trial in parts.trials()}) == 14
    other = open_study(tmp_path / "other", "bowl", BOWL, seed=8)
    tried(other, 1, of_bowl)
    assert other.trials()[0].settings != whole.trials()[0].settings


def test_every_suggestion_lies_in_the_space(tmp_path: Path) -> None:
    study = open_study(tmp_path, "kinds", KINDS, seed=1)
    tried(study, 30, lambda trial: trial.settings.get("rate", trial.settings.get("penalty", 0.0)))
    trials = study.trials()
    assert all(KINDS.holds(trial.settings) for trial in trials)
    assert {str(trial.settings["base"]) for trial in trials} == {"linear", "net", "{'new': '1m', 'kind': 'lstm'}"}
    assert all(isinstance(trial.settings["rank"], int) for trial in trials if trial.settings["base"] == "net")


def test_what_is_enqueued_comes_first(tmp_path: Path) -> None:
    study = open_study(tmp_path, "kinds", KINDS, seed=1)
    study.enqueue({"base": {"new": "1m", "kind": "lstm"}, "rate": 0.01}, is_own=True)
    first = study.ask()
    assert first.settings == {"base": {"new": "1m", "kind": "lstm"}, "rate": 0.01} and first.facts["is_own"]


def test_a_trial_that_waits_goes_on_under_its_number(tmp_path: Path) -> None:
    study = open_study(tmp_path, "bowl", BOWL, seed=1)
    first, second = study.ask(), study.ask()
    study.complete(second.number, Result(1.0, {"steps": 3}, "finetune-1"), seconds=2.0, at=5.0)
    again = open_study(tmp_path, "bowl", BOWL, seed=1)
    assert again.put_back_running() == [first.number]
    assert [trial.state for trial in again.trials()] == ["waiting", "complete"]
    asked = again.ask()
    assert (asked.number, asked.settings, asked.attempts, asked.kills) == (first.number, first.settings, 2, 1)
    assert len(again.trials()) == 2
    kept = again.trial(second.number)
    assert (kept.score, kept.seconds, kept.ended_at, kept.facts["steps"]) == (1.0, 2.0, 5.0, 3)


def test_seconds_add_up_over_attempts(tmp_path: Path) -> None:
    study = open_study(tmp_path, "bowl", BOWL, seed=1)
    number = study.ask().number
    study.put_back(number, seconds=4.0)
    study.ask()
    study.complete(number, Result(1.0), seconds=3.0, at=9.0)
    assert study.trial(number).seconds == 7.0


def test_a_trial_above_the_median_at_its_point_should_end(tmp_path: Path) -> None:
    study = open_study(tmp_path, "bowl", BOWL, seed=1)
    for score in (1.0, 2.0, 3.0, 4.0):
        number = study.ask().number
        assert not any(study.report(number, tick, score) for tick in range(1, 10))
        study.complete(number, Result(score), seconds=1.0, at=1.0)
    assert len(study.trials()) == NUM_BEFORE_PRUNING
    good, bad = study.ask().number, study.ask().number
    assert not study.report(good, 2, 2.4) and not study.report(bad, 1, 9.0)
    assert study.report(bad, 2, 2.6)
    study.report(bad, 2, 0.0)  # said again after a stop: what was said first stays
    study.prune(bad, "others were better by then", seconds=1.0, at=2.0)
    assert study.trial(bad).state == "pruned" and study.trial(bad).score is None
    assert study.best() is not None and study.best().score == 1.0


def test_the_time_that_was_spent_is_remembered(tmp_path: Path) -> None:
    open_study(tmp_path, "bowl", BOWL, seed=1).note_spent(12.345)
    assert open_study(tmp_path, "bowl", BOWL, seed=1).spent_seconds == 12.35


def test_another_search_in_the_same_file_is_another_search(tmp_path: Path) -> None:
    tried(open_study(tmp_path, "one", BOWL, seed=1), 2, of_bowl)
    other = open_study(tmp_path, "two", BOWL, seed=1)
    assert other.is_new and other.others == 1 and other.trials() == []
    assert len(open_study(tmp_path, "one", BOWL, seed=1).trials()) == 2


def test_what_mattered_is_what_the_score_depends_on(tmp_path: Path) -> None:
    space = Space({"x": Setting(Range(0.0, 1.0)), "idle": Setting(Range(0.0, 1.0))})
    study = open_study(tmp_path, "one", space, seed=4, sampling="random")
    assert study.importance() == {}
    tried(study, 30, lambda trial: trial.settings["x"])
    importance = study.importance()
    assert importance["x"] > 0.8 and sum(importance.values()) == pytest.approx(1.0)


def test_a_damaged_memory_is_named(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_bytes(b"this is no database, " * 50)
    with pytest.raises(ArtifactError, match="memory cannot be read") as raised:
        open_study(tmp_path, "bowl", BOWL, seed=1)
    assert str(raised.value.place).endswith("study.db") and "delete it" in str(raised.value.hint)


def test_without_the_extra_its_name_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SystemRefusal, match="needs optuna") as raised:
        open_study(tmp_path, "bowl", BOWL, seed=1)
    assert "setsail[tune]" in str(raised.value.hint)


@pytest.mark.parametrize(("num_trials", "least_wins"), [(16, 4)])
def test_better_than_chance_after_as_many_trials(num_trials: int, least_wins: int, tmp_path: Path) -> None:
    """Seeds 1 to 5, sixteen trials each: the bowl's depth that was reached, by the sampler and by chance."""

    def reached(sampling: Sampling, seed: int) -> float:
        study = open_study(tmp_path / f"{sampling}-{seed}", "bowl", BOWL, seed=seed, sampling=sampling)
        tried(study, num_trials, of_bowl)
        best = study.best()
        assert best is not None and best.score is not None
        return best.score

    ours, chance = ([reached(sampling, seed) for seed in SEEDS] for sampling in ("tpe", "random"))
    wins = sum(a < b for a, b in zip(ours, chance, strict=True))
    assert wins >= least_wins and np.median(ours) < 0.5 * np.median(chance), (ours, chance)
