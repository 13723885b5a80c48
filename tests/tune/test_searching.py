"""The search with real processes: limits, refusals, deaths, and that a killed one goes on counting each trial once."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from objectives import BOWL, Diary, Unending, bowl, broken, dear, falling, sometimes_killed

from setsail.base.log import Log
from setsail.tune.crew import Crew
from setsail.tune.search import Limits, Reason, Search, SearchFailed
from setsail.tune.space import Choices, Range, Setting, Space
from setsail.tune.study import Study, open_study
from setsail.tune.trial import Objective, Trial

QUIET = Log(quiet=True)
HERE = Path(__file__).parent


def searched(
    folder: Path,
    objective: Objective,
    *,
    seconds: float | None = None,
    trials: int | None = None,
    memory: int = 10**9,
    parallel: int = 1,
    space: Space = BOWL,
) -> tuple[Reason, Study]:
    study = open_study(folder, "toy", space, seed=3)
    crew = Crew(objective, folder, size=parallel)
    return Search(study, crew, Limits(seconds, trials, memory), QUIET).run(), study


def states(study: Study) -> Counter[str]:
    return Counter(trial.state for trial in study.trials())


def test_so_many_trials_and_no_more(tmp_path: Path) -> None:
    reason, study = searched(tmp_path, bowl, trials=5)
    assert reason == "trials" and states(study) == {"complete": 5}
    reason, study = searched(tmp_path, bowl, trials=5)
    five = study.trials()
    assert reason == "trials" and len(five) == 5
    assert searched(tmp_path, bowl, trials=7)[1].trials()[:5] == five
    best = study.best()
    assert best is not None and best.score == min(trial.score or 0.0 for trial in study.trials())


def test_several_at_once_are_told_apart(tmp_path: Path) -> None:
    reason, study = searched(tmp_path, Diary(tmp_path, steps=2), trials=7, parallel=3)
    assert reason == "trials" and states(study) == {"complete": 7}
    for trial in study.trials():
        wrote = (tmp_path / f"{trial.number}.txt").read_text().splitlines()
        assert len(wrote) == 2 and all(f"of {trial.settings['x']!r} {trial.settings['y']!r} " in line for line in wrote)
    assert sorted((tmp_path / "ended.txt").read_text().split()) == [str(number) for number in range(7)]


def test_worse_ones_end_early(tmp_path: Path) -> None:
    space = Space({"x": Setting(Range(0.0, 1.0))})
    _, study = searched(tmp_path, falling, trials=14, space=space)
    pruned = [trial for trial in study.trials() if trial.state == "pruned"]
    assert pruned and all(trial.number >= 4 and trial.why for trial in pruned)
    scored = sorted(trial.score for trial in study.trials() if trial.score is not None)
    assert min(trial.settings["x"] for trial in pruned) > scored[0]


def test_what_was_tried_is_not_tried_again(tmp_path: Path) -> None:
    space = Space({"x": Setting(Choices((0.0, 1.0, 2.0))), "y": Setting(Choices((0.0,)))})
    reason, study = searched(tmp_path, Diary(tmp_path, steps=1), trials=100, space=space)
    assert reason == "searched through"
    assert len((tmp_path / "ended.txt").read_text().split()) == 3
    for trial in study.trials():
        if trial.same_as is not None and trial.state == "complete":
            assert trial.score == study.trial(trial.same_as).score and trial.seconds == 0


def test_trials_that_do_not_fit_the_time_are_not_begun(tmp_path: Path) -> None:
    with pytest.raises(SearchFailed, match=r"no trial fits: the shortest of 3 would take 1 h 00 min") as raised:
        searched(tmp_path, dear, seconds=600.0)
    assert "--budget" in str(raised.value.hint)
    study = open_study(tmp_path, "toy", BOWL, seed=3)
    assert states(study) == {"waiting": 3} and study.spent_seconds < 600


def test_they_wait_for_a_search_with_more_time(tmp_path: Path) -> None:
    with pytest.raises(SearchFailed):
        searched(tmp_path, dear, seconds=600.0)
    waited = [trial.settings for trial in open_study(tmp_path, "toy", BOWL, seed=3).trials()]
    _, study = searched(tmp_path, dear, seconds=36_000.0, trials=3)
    assert [trial.settings for trial in study.trials()] == waited and states(study) == {"complete": 3}


def test_the_search_ends_when_its_time_is_over_and_the_trial_at_work_waits(tmp_path: Path) -> None:
    long = Unending(tmp_path)
    study = open_study(tmp_path, "toy", BOWL, seed=3)
    study.note_spent(100.0)
    crew = Crew(long, tmp_path)
    assert Search(study, crew, Limits(103.0, None, 10**9), QUIET).run() == "time"
    assert states(study) == {"waiting": 1} and crew.numbers == [] and study.spent_seconds >= 103
    assert Search(study, Crew(long, tmp_path), Limits(103.0, None, 10**9), QUIET).run() == "time"
    assert states(study) == {"waiting": 1}


def test_memory_decides_how_many_run_at_once(tmp_path: Path) -> None:
    _, study = searched(tmp_path, Diary(tmp_path, steps=3, pause=0.05, memory=600), trials=5, parallel=3, memory=1000)
    assert states(study) == {"complete": 5}
    spans = [
        (float((tmp_path / f"{number}.begun").read_text()), float((tmp_path / f"{number}.txt").read_text().split()[-1]))
        for number in range(5)
    ]
    spans.sort()
    assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))


def test_what_never_fits_the_memory_is_said(tmp_path: Path) -> None:
    with pytest.raises(SearchFailed, match=r"first 3 trials failed.* 2.0 KiB of memory, 1000 B may be taken"):
        searched(tmp_path, Diary(tmp_path, memory=2048), memory=1000)


def test_a_search_whose_trials_all_fail_ends_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(SearchFailed, match=r"the first 3 trials failed.*the third column is missing \(rows.csv:7\)"):
        searched(tmp_path, broken, trials=50)


def test_a_process_that_the_system_killed_is_one_failed_trial(tmp_path: Path) -> None:
    _, study = searched(tmp_path, sometimes_killed, trials=4)
    assert [trial.state for trial in study.trials()] == ["complete", "failed", "complete", "complete"]
    assert "signal 9" in study.trials()[1].why


def test_ctrl_c_leaves_nothing_at_work_and_the_trial_goes_on(tmp_path: Path) -> None:
    study = open_study(tmp_path, "toy", BOWL, seed=3)
    crew = Crew(Diary(tmp_path, steps=100_000, pause=0.01), tmp_path)

    over = threading.Event()

    def press() -> None:
        """Again after a while: Python drops one that comes while it frees something."""
        while not (tmp_path / "0.txt").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
        while not over.wait(10):
            os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        try:
            Search(study, crew, Limits(None, 1, 10**9), QUIET).run()
        finally:
            over.set()
    assert crew.numbers == [] and states(study) == {"waiting": 1}
    before = len((tmp_path / "0.txt").read_text().splitlines())
    reason, study = searched(tmp_path, Diary(tmp_path, steps=before + 2), trials=1)
    assert reason == "trials" and study.trials()[0].attempts == 2 and states(study) == {"complete": 1}
    assert len((tmp_path / "0.txt").read_text().splitlines()) == before + 2


@pytest.mark.parametrize("parallel", [1, 2])
def test_killed_again_and_again_each_trial_is_counted_once(parallel: int, tmp_path: Path) -> None:
    num_trials, kills = 8, 0
    command = [sys.executable, str(HERE / "searching.py"), str(tmp_path), str(num_trials), str(parallel)]
    for wanted in (1, 4, 6, 9, 20, 33):
        running = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while running.poll() is None and num_steps(tmp_path) < wanted:
            time.sleep(0.005)
        running.kill()
        kills += running.wait() == -signal.SIGKILL
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    study = open_study(tmp_path, "bowl", BOWL, seed=3)
    assert kills >= 4 and states(study) == {"complete": num_trials}
    assert [trial.number for trial in study.trials()] == list(range(num_trials))
    assert any(trial.attempts > 1 for trial in study.trials())
    for trial in study.trials():
        lines = (tmp_path / f"{trial.number}.txt").read_text().splitlines()
        assert [line.split()[1] for line in lines] == ["0", "1", "2", "3", "4", "5"]
        assert {line.split(" from ")[0].split(" of ")[1] for line in lines} == {
            f"{trial.settings['x']!r} {trial.settings['y']!r}"
        }


def test_one_that_dies_with_every_start_is_given_up(tmp_path: Path) -> None:
    study = open_study(tmp_path, "toy", BOWL, seed=3)
    for _ in range(5):
        study.put_back_running()
        study.ask()
    ended: list[Trial] = []
    Search(study, Crew(bowl, tmp_path), Limits(None, 2, 10**9), QUIET, ended.append).run()
    assert [(trial.state, trial.number) for trial in ended] == [("failed", 0), ("complete", 1)]
    assert re.search("killed 5 times", ended[0].why)


def num_steps(folder: Path) -> int:
    return sum(len(file.read_text().splitlines()) for file in folder.glob("[0-9]*.txt"))
