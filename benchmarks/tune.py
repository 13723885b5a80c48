"""`make bench-tune`: what a search finds beside random search, at the same number of trials, on real data.

Work "digits": 1,797 handwritten digits that come with scikit-learn, a perceptron of one hidden layer; searched are its
learning rate, penalty, width, batch and epochs. Work "desks": which part of NumPy a function belongs to, told from
its documentation by TF-IDF with logistic regression; searched are penalty, the length of n-grams and what is counted.
The score is nats per row of validation rows; both sides draw from the same space with the same seeds, and are asked
after every trial for the best so far. The best of each is scored once on rows that neither saw. A run is a seed.
"""

from __future__ import annotations

import argparse
import inspect
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from row import Row
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from setsail.base.machine import describe, versions
from setsail.tune.space import Choices, Range, Setting, Space
from setsail.tune.study import Sampling, open_study
from setsail.tune.trial import Result

RESULTS = Path(__file__).parent / "results" / "tune.json"
SEEDS, NUM_TRIALS = (1, 2, 3), 30
SIDES: tuple[tuple[str, Sampling], ...] = (("setsail", "tpe"), ("random search", "random"))

# Settings to the nats per row of the validation and of the test rows.
Score = Callable[[Mapping[str, Any]], tuple[float, float]]


@dataclass(frozen=True)
class Work:
    """Something to search: its space, and what settings come to."""

    name: str
    space: Space
    score: Score


DIGITS = Space(
    {
        "learning_rate": Setting(Range(1e-4, 1.0, log=True)),
        "penalty": Setting(Range(1e-6, 10.0, log=True)),
        "width": Setting(Range(4, 64, log=True, whole=True)),
        "batch": Setting(Choices((16, 64, 256))),
        "epochs": Setting(Range(1, 12, whole=True)),
    }
)
DESKS = Space(
    {
        "inverse_penalty": Setting(Range(1e-3, 1e4, log=True)),
        "longest": Setting(Choices((1, 2, 3))),
        "counted": Setting(Choices(("word", "char_wb"))),
        "least_rows": Setting(Range(1, 10, whole=True)),
        "sublinear": Setting(Choices((True, False))),
    }
)


@cache
def digits() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Half to learn from, a quarter to validate, a quarter to test, each shuffled once and for all."""
    data: Any = load_digits()
    order = np.random.default_rng(0).permutation(len(data.data))
    parts = np.split(order, [len(order) // 2, len(order) * 3 // 4])
    return [data.data[part] / 16 for part in parts], [data.target[part] for part in parts]


@cache
def desks() -> tuple[list[list[str]], list[np.ndarray]]:
    """First paragraphs of NumPy's documentation and the part that each belongs to."""
    modules = [np.linalg, np.random, np.fft, np.ma, np.strings, np.polynomial.polynomial]
    rows: dict[str, int] = {}
    for label, module in enumerate(modules):
        for name in sorted(dir(module)):
            text = inspect.getdoc(getattr(module, name, None)) or ""
            words = " ".join(text.split()[:60]).replace(name, " ")
            if not name.startswith("_") and len(words) > 80:
                rows.setdefault(words, label)
    texts, labels = list(rows), np.array(list(rows.values()))
    order = np.random.default_rng(0).permutation(len(texts))
    parts = np.split(order, [len(order) // 2, len(order) * 3 // 4])
    return [[texts[index] for index in part] for part in parts], [labels[part] for part in parts]


def of_digits(settings: Mapping[str, Any]) -> tuple[float, float]:
    inputs, targets = digits()
    model = MLPClassifier(
        hidden_layer_sizes=(settings["width"],),
        learning_rate_init=settings["learning_rate"],
        alpha=settings["penalty"],
        batch_size=settings["batch"],
        max_iter=settings["epochs"],
        random_state=0,
    )
    model.fit(inputs[0], targets[0])
    validation, test = (nats(model.predict_proba(inputs[part]), model.classes_, targets[part]) for part in (1, 2))
    return validation, test


def of_desks(settings: Mapping[str, Any]) -> tuple[float, float]:
    texts, targets = desks()
    vectorizer = TfidfVectorizer(
        analyzer=settings["counted"],
        ngram_range=(1, settings["longest"] + 2 * (settings["counted"] == "char_wb")),
        min_df=settings["least_rows"],
        sublinear_tf=settings["sublinear"],
    )
    model = LogisticRegression(C=settings["inverse_penalty"], max_iter=200)
    model.fit(vectorizer.fit_transform(texts[0]), targets[0])
    said = [model.predict_proba(vectorizer.transform(part)) for part in texts]
    validation, test = (nats(said[part], model.classes_, targets[part]) for part in (1, 2))
    return validation, test


def nats(probabilities: np.ndarray, classes: np.ndarray, targets: np.ndarray) -> float:
    """The mean nats of the right class."""
    places = np.searchsorted(classes, targets)
    return float(-np.log(np.maximum(probabilities[np.arange(len(targets)), places], 1e-12)).mean())


WORKS = (Work("digits", DIGITS, of_digits), Work("desks", DESKS, of_desks))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=NUM_TRIALS)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--note", default="", help="what else ran on the machine")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)  # few epochs are what is tried
    rows = [row for work in WORKS for row in compete(work, options.seeds, options.trials)]
    report(rows, options.note, options.out)


def compete(work: Work, seeds: list[int], num_trials: int) -> list[Row]:
    """Both sides in turns, seed after seed."""
    half = num_trials // 2
    rows = {
        (who, count): Row(f"{work.name}, {count} trials", who, "best")
        for who, _ in SIDES
        for count in (half, num_trials)
    }
    tests: dict[str, list[float]] = {who: [] for who, _ in SIDES}
    seconds: dict[str, list[float]] = {who: [] for who, _ in SIDES}
    for seed in seeds:
        for who, sampling in SIDES:
            began = time.process_time()
            validation, test = searched(work, sampling, seed, num_trials)
            for count in (half, num_trials):
                row = rows[who, count]
                row.unit, row.better = "nats per validation row", "lower"
                row.runs.append(round(min(validation[:count]), 4))
            tests[who].append(test)
            seconds[who].append(time.process_time() - began)
            print(
                f"{work.name:<8}{who:<15}seed {seed}  {min(validation):.4f}  {seconds[who][-1]:.1f} CPU-s", flush=True
            )
    for (who, count), row in rows.items():
        if count == num_trials:
            spent = statistics.median(seconds[who])
            row.note = f"on the test {statistics.median(tests[who]):.4f}; a search took {spent:.1f} CPU-seconds"
    return list(rows.values())


def searched(work: Work, sampling: Sampling, seed: int, num_trials: int) -> tuple[list[float], float]:
    """The validation score of every trial, and the test score of the best one."""
    tests: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        study = open_study(Path(folder), work.name, work.space, seed=seed, sampling=sampling)
        for _ in range(num_trials):
            trial = study.ask()
            validation, tests[trial.number] = work.score(trial.settings)
            study.complete(trial.number, Result(validation), seconds=0.0, at=0.0)
        best = study.best()
        assert best is not None
        return [trial.score or 0.0 for trial in study.trials()], tests[best.number]


def report(rows: list[Row], note: str, out: Path) -> None:
    """Prints the table and saves it."""
    for row in rows:
        chance = next(other.value for other in rows if other.work == row.work and other.who == SIDES[1][0])
        print(
            f"{row.work:<20}{row.who:<16}{row.value:>9.4f} {row.unit}  {row.value / chance:.2f} of random  {row.note}"
        )
    saved = {
        "machine": {"described": describe(), "versions": versions(), "beside": note},
        "limits": {},
        "rows": [{**asdict(row), "value": row.value} for row in rows],
    }
    out.write_text(json.dumps(saved, indent=1) + "\n", "utf-8")
    print(f"saved {out}")


if __name__ == "__main__":
    main()
