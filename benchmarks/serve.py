"""`make bench-serve`: our HTTP server beside others on the same model, for 1, 8 and 32 clients that ask without pause.

Works: short chats; questions of about 600 tokens of which 500 are shared, as documents before a question are; and both
mixed, with answers of three lengths. Contestants are started once and asked in turns, in each round the same new
questions: tokens per second, the wait for the first token, memory. Before that, the time from a start to a first token.
Needs a sailed run: `make demo` first.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from clients import Question, Seen, closed_loop
from servers import BARE, OURS, Running, Start, contestants_of

from setsail.base.machine import describe, versions
from setsail.base.run import Run
from setsail.data.row import read_rows
from setsail.evaluate.question import question_of, question_text
from setsail.stages.answering.engines import file_to_serve
from setsail.stages.answering.serving import read_run
from setsail.stages.kinds import tokenizer_of
from setsail.tokens.render import render
from setsail.tokens.tokenizer import Tokenizer

RESULTS = Path(__file__).parent / "results" / "serve.json"
CLIENTS = (1, 8, 32)
SLOTS, CONTEXT = 32, 1024
NUM_SHARED, NUM_OWN = 480, 60  # tokens of documents; template and question are some 60 more
SHORT, LONG, MIXED = "short chats", "600 tokens, 500 shared", "mixed"
LENGTHS = {SHORT: (64,), LONG: (64,), MIXED: (16, 64, 128)}  # tokens of an answer at most


@dataclass
class Cell:
    """What one contestant came to at one work with so many clients, a value a round."""

    speeds: list[float] = field(default_factory=list)  # tokens per second
    median_waits: list[float] = field(default_factory=list)  # seconds to the first token
    long_waits: list[float] = field(default_factory=list)  # the 95th percentile
    peak_bytes: int = 0
    problems: Counter[str] = field(default_factory=Counter)

    def add(self, seen: Seen, memory_bytes: int) -> None:
        self.speeds.append(seen.tokens / seen.seconds)
        self.median_waits.append(float(np.quantile(seen.first_seconds, 0.5)))
        self.long_waits.append(float(np.quantile(seen.first_seconds, 0.95)))
        self.peak_bytes = max(self.peak_bytes, memory_bytes)
        self.problems.update(seen.problems)


Place = tuple[str, int, str]  # work, clients, who


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("runs/support"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.5, help="how long the clients of one cell ask")
    parser.add_argument("--works", nargs="*", default=list(LENGTHS), choices=list(LENGTHS))
    parser.add_argument("--without", nargs="*", default=[], metavar="WHO", help="contestants to leave out")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    run, recipe = read_run(options.run)
    serve = recipe.serve.model_copy(update={"slots": SLOTS, "context": CONTEXT})
    recipe = recipe.model_copy(update={"serve": serve})
    tokenizer = tokenizer_of(run.artifact("gguf"))
    model = file_to_serve(run.artifact("gguf"), recipe).path
    cells: dict[Place, Cell] = {}
    starts: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        contestants = contestants_of(run, recipe, tokenizer, Path(folder))
        contestants = {who: start for who, start in contestants.items() if who not in options.without}
        asking = Asking(run, tokenizer)
        for who, start in [*contestants.items()] * options.rounds:
            starts.setdefault(who, []).append(seconds_to_first_token(start, asking))
            print(f"start {who:<36}{starts[who][-1]:6.1f} s", file=sys.stderr)
        running = {who: stack.enter_context(Kept(start)) for who, start in contestants.items()}
        for number in range(options.rounds):
            for work, count in itertools.product(options.works, CLIENTS):
                questions = asking.questions(work, count, seed=f"{number} {work} {count}")
                for who, kept in running.items():
                    seen = closed_loop(kept.contestant.asked, questions, options.seconds)
                    cell = cells.setdefault((work, count, who), Cell())
                    cell.add(seen, kept.contestant.memory_bytes())
                    told = f"{cell.speeds[-1]:8.1f} tokens/s {cell.median_waits[-1]:7.2f} s to the first"
                    print(f"round {number} {work:<24}{count:>3}  {who:<36}{told}", file=sys.stderr)
                    if seen.problems:
                        kept.start_anew()
            write(options.results, cells, starts, model, setting=f"{SLOTS} slots, asked for {options.seconds:g} s")
    show(cells, starts, options.works)


class Kept:
    """A contestant that runs until the end, or until a question was cut: not all stop when nobody listens any more."""

    def __init__(self, start: Start) -> None:
        self._start = start
        self._stack = ExitStack()

    def __enter__(self) -> Kept:
        self.contestant: Running = self._stack.enter_context(self._start())
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def start_anew(self) -> None:
        self._stack.close()
        self.__enter__()


class Asking:
    """Makes questions of the run's own rows, no two alike: each has a number of its own near its start."""

    def __init__(self, run: Run, tokenizer: Tokenizer) -> None:
        data = run.artifact("data")
        self._tokenizer = tokenizer
        self._asked = [question_text(question_of(row).prompt) for row in read_rows(data.file("test.parquet"))]
        documents = [question_of(row).reference for row in read_rows(data.file("train.parquet"))]
        self._documents = tokenizer.encode("\n".join(documents))
        self._numbers = itertools.count(1000)

    def questions(self, work: str, count: int, *, seed: str, each: int = 64) -> list[list[Question]]:
        """So many for each client."""
        drawn = random.Random(seed)
        return [[self._question(work, drawn) for _ in range(each)] for _ in range(count)]

    def _question(self, work: str, drawn: random.Random) -> Question:
        number = next(self._numbers)
        messages = [{"role": "user", "content": f"Ticket {number}: {drawn.choice(self._asked)[:200]}"}]
        if work == LONG or (work == MIXED and drawn.random() < 0.5):
            start = drawn.randrange(NUM_SHARED, len(self._documents) - NUM_OWN)
            shared, own = self._documents[:NUM_SHARED], self._documents[start : start + NUM_OWN]
            system = "Answer from these documents.\n" + self._tokenizer.decode(shared)
            messages[0]["content"] += f"\nOne more document: {self._tokenizer.decode(own)}"
            messages.insert(0, {"role": "system", "content": system})
        rendered = render(self._tokenizer, messages, generation_prompt=True)
        ends = sorted({rendered.stop_id, *self._tokenizer.eos_ids})
        return Question(messages, list(rendered.ids), ends, drawn.choice(LENGTHS[work]))


def seconds_to_first_token(start: Start, asking: Asking) -> float:
    """From nothing to the first token of the first answer."""
    [[question]] = asking.questions(SHORT, 1, seed="start", each=1)
    began = time.monotonic()
    with start() as contestant:
        for tokens in contestant.asked.ask(question, began + 300):
            if tokens:
                return time.monotonic() - began
    raise RuntimeError("no token came")


def memory_gb_per_s() -> float:
    """What one copy of a large array moves, read and written."""
    source = np.zeros(2**27, dtype=np.uint8)
    target = np.empty_like(source)
    target[:] = source
    began = time.perf_counter()
    for _ in range(4):
        target[:] = source
    return 4 * 2 * source.nbytes / (time.perf_counter() - began) / 1e9


def write(
    path: Path, cells: Mapping[Place, Cell], starts: Mapping[str, Sequence[float]], model: Path, *, setting: str
) -> None:
    """The results as every benchmark writes them."""
    rows: list[dict[str, Any]] = []
    for (work, count, who), cell in cells.items():
        place = {"work": f"{work}, {count} client{'s' if count > 1 else ''}", "who": who, "setting": setting}
        problems = "; ".join(f"{number} × {problem}" for problem, number in cell.problems.most_common(3))
        note = f"peak memory {cell.peak_bytes / 2**20:.0f} MiB" + (f"; {problems}" if problems else "")
        for unit, runs in (
            ("tokens/s", cell.speeds),
            ("seconds to first token, p50", cell.median_waits),
            ("seconds to first token, p95", cell.long_waits),
        ):
            better = "higher" if unit == "tokens/s" else "lower"
            rows.append(place | _values(runs) | {"unit": unit, "better": better, "note": note})
    for who, runs in starts.items():
        place = {"work": "start to first token", "who": who, "setting": "idle machine"}
        rows.append(place | _values(runs) | {"unit": "seconds", "better": "lower", "note": ""})
    limit = memory_gb_per_s()
    machine = {"machine": describe(), "load": psutil.getloadavg()[0], "versions": versions()}
    alone = round(limit * 1e9 / model.stat().st_size)
    limits = {"memory_gb_per_s": round(limit, 1), "decode_tokens_per_s_of_one_request": alone}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine, "limits": limits, "rows": rows}, indent=1) + "\n")
    print(f"{path}: memory moves {limit:.1f} GB/s, so that one request alone can have {alone} tokens/s")


def _values(runs: Sequence[float]) -> dict[str, Any]:
    return {"value": round(statistics.median(runs), 3), "runs": [round(value, 3) for value in runs]}


def show(cells: Mapping[Place, Cell], starts: Mapping[str, Sequence[float]], works: Sequence[str]) -> None:
    """One table, and in each cell ours against the best peer and against our own engine without HTTP."""
    names = list(starts)
    for work, count in itertools.product(works, CLIENTS):
        print(
            f"\n{work}, {count} client{'s' if count > 1 else ''}{'tokens/s':>20}{'first p50':>11}{'p95':>8}{'MiB':>7}"
        )
        speeds = {}
        for who in names:
            cell = cells[work, count, who]
            speeds[who] = statistics.median(cell.speeds)
            waits = [statistics.median(waits) for waits in (cell.median_waits, cell.long_waits)]
            bad = f"   {cell.problems.total()} failed or cut" if cell.problems else ""
            print(
                f"  {who:<34}{speeds[who]:>8.1f}{waits[0]:>11.2f}{waits[1]:>8.2f}{cell.peak_bytes / 2**20:>7.0f}{bad}"
            )
        peers = [speed for who, speed in speeds.items() if who not in (OURS, BARE)]
        if OURS in speeds and peers:
            print(f"  {OURS} has {speeds[OURS] / max(peers):.2f} × the best peer", end="")
            print(f", {speeds[OURS] / speeds[BARE]:.0%} of its own engine" if BARE in speeds else "")
    print("\nseconds from start to first token")
    for who, runs in starts.items():
        print(f"  {who:<34}{statistics.median(runs):>8.1f}   {' '.join(f'{value:.1f}' for value in runs)}")


if __name__ == "__main__":
    main()
