"""Reads damaged files of every kind by the hundred thousand: each must end as rows, drops or an error of ours.

    make fuzz                                    200,000 files, a count for each kind, written to benchmarks/results
    python benchmarks/fuzz_readers.py --seed 77  one file again, with what it raises

A worker reads; whoever hangs, is killed by the limit of memory or raises anything else is named with its seed.
"""

from __future__ import annotations

import argparse
import json
import resource
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from data.file_makers import samples  # noqa: E402
from data.mutations import ROWS, case, outcome  # noqa: E402

MEMORY_BYTES = 6 << 30
HANG_SECONDS = 60
SLOW_SECONDS = 10
REPORT_EVERY = 5000


def work(first: int, last: int) -> None:
    """In a worker: reads the files of these seeds, a line on standard output for what each came to."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    warnings.simplefilter("ignore")
    seeds = samples(ROWS)
    for seed in range(first, last):
        signal.alarm(HANG_SECONDS)
        name, data = case(seed, seeds)
        begun = time.monotonic()
        try:
            came_to = outcome(name, data)
        except Exception as error:  # this is what is looked for
            came_to = f"FAULT {type(error).__name__}: {str(error)[:200]}"
        print(json.dumps([seed, name, came_to, round(time.monotonic() - begun, 3)]), flush=True)
    signal.alarm(0)


def watch(first: int, last: int) -> tuple[Counter[tuple[str, str]], list[str], float]:
    """What every seed came to, the faults, and the longest that one took; a worker that dies is begun anew after it."""
    counts: Counter[tuple[str, str]] = Counter()
    faults: list[str] = []
    longest = 0.0
    while first < last:
        command = [sys.executable, __file__, "--worker", str(first), str(last)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
            assert worker.stdout is not None
            for line in worker.stdout:
                seed, name, came_to, seconds = json.loads(line)
                first, longest = seed + 1, max(longest, seconds)
                counts[name, came_to.split(" ")[0]] += 1
                if came_to.startswith("FAULT"):
                    faults.append(f"seed {seed} ({name}): {came_to}")
                    print(faults[-1], flush=True)
                if seconds > SLOW_SECONDS:
                    print(f"seed {seed} ({name}): {came_to} after {seconds:.1f} s", flush=True)
                if first % REPORT_EVERY == 0:
                    print(f"{first:,} files, {len(faults)} faults, longest {longest:.1f} s", flush=True)
        if first < last:
            faults.append(f"seed {first}: the worker ended with {worker.returncode} (a hang is {-signal.SIGALRM})")
            print(faults[-1], flush=True)
            counts["?", "FAULT"] += 1
            first += 1
    return counts, faults, longest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="read the file of this seed alone")
    parser.add_argument("--worker", type=int, nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        return work(*asked.worker)
    if asked.seed is not None:
        name, data = case(asked.seed, samples(ROWS))
        print(name, data[:2000], outcome(name, data), sep="\n")
        return None
    begun = time.monotonic()
    counts, faults, longest = watch(asked.first, asked.first + asked.count)
    names = sorted({name for name, _ in counts})
    kinds = {name: {came: n for (who, came), n in sorted(counts.items()) if who == name} for name in names}
    result = {"files": counts.total(), "seconds": round(time.monotonic() - begun), "longest_seconds": longest}
    result |= {"faults": faults, "kinds": kinds}
    (ROOT / "benchmarks" / "results" / "fuzz_readers.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(json.dumps(result, indent=1))
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
