"""A search as a program of its own, to be killed: searching.py FOLDER NUM_TRIALS PARALLEL."""

from __future__ import annotations

import sys
from pathlib import Path

from objectives import BOWL, Diary

from setsail.base.log import Log
from setsail.tune.crew import Crew
from setsail.tune.search import Limits, Search
from setsail.tune.study import open_study


def main(folder: Path, num_trials: int, parallel: int) -> None:
    study = open_study(folder, "bowl", BOWL, seed=3)
    crew = Crew(Diary(folder, steps=6, pause=0.02), folder, size=parallel)
    Search(study, crew, Limits(None, num_trials, 10**9), Log()).run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
