"""`make bench-data`: preparing data against peers in the same run: MB per second, memory, and copies found.

Work `pipeline` reads a .jsonl file of real text, cleans it, masks personal data, takes out exact and near copies,
splits it and writes Parquet. The peers are `datasets.map` with datasketch, and datatrove; both call setsail's own
functions on the text, so that what differs is the pipeline around them and the search for copies. Rounds alternate;
medians; MB per CPU-second in one process, MB per second of the clock in several. `minhash` is sketching alone; `steps`
are the functions by themselves.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from data_corpus import Made, similarity, write_corpus
from row import Row

from setsail.base.machine import describe, versions
from setsail.data.privacy.redactor import redact
from setsail.data.row import read_drops
from setsail.data.sketch import normalised
from setsail.data.steps.registry import PRESETS, steps_of

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "data.json"
PEERS = Path(os.environ.get("DATA_PEERS", HERE.parent / ".datavenv" / "bin" / "python"))
SCRIPTS = {"setsail": "data_ours.py", "datasets + datasketch": "data_datasets.py", "datatrove": "data_datatrove.py"}
MEGABYTES, PEER_MEGABYTES, SAMPLE_MEGABYTES, ROUNDS, THRESHOLD = 200, 24, 4, 3, 0.85
ONE = "1 processes"
WORDS = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]|[^\W\u3400-\u4dbf\u4e00-\u9fff]+")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--megabytes", type=float, default=MEGABYTES, help="of the large file, which setsail alone reads"
    )
    parser.add_argument("--peer-megabytes", type=float, default=PEER_MEGABYTES, help="of the file that all read")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--processes", default="1,2")
    parser.add_argument("--note", default="", help="what else the machine was doing")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = _pipeline(folder, options)
        rows += _large(folder, options)
        sample = folder / "sample.jsonl"
        write_corpus(sample, int(SAMPLE_MEGABYTES * 1e6), seed=3)
        rows += [*_minhash(sample), *_steps(sample)]
    _print(rows)
    RESULTS.parent.mkdir(exist_ok=True)
    result = {"machine": describe(), "versions": versions(), "note": options.note}
    result["rows"] = [{**asdict(row), "value": row.value} for row in rows]
    RESULTS.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _pipeline(folder: Path, options: argparse.Namespace) -> list[Row]:
    file = folder / "peers.jsonl"
    write_corpus(file, int(options.peer_megabytes * 1e6), seed=1)
    counts = [int(count) for count in options.processes.split(",")]
    rows = [Row("pipeline", who, f"{count} processes") for count in counts for who in SCRIPTS]
    walls = [Row("pipeline", who, f"{count} processes", unit="MB/second") for count in counts for who in SCRIPTS]
    for number in range(options.rounds):
        for row, wall in zip(rows, walls, strict=True):
            told = _run(row.who, file, int(row.setting.split()[0]), folder / f"{number}-{row.who}-{row.setting}")
            if "error" in told:
                row.note = wall.note = told["error"]
                continue
            if row.setting == ONE:  # what a peer's own processes used cannot be told from outside
                row.runs.append(file.stat().st_size / 1e6 / told["cpu_seconds"])
            wall.runs.append(file.stat().st_size / 1e6 / told["wall_seconds"])
            row.peak_bytes = max(row.peak_bytes, told["peak_bytes"])
            row.note = f"{told['kept']:,} rows kept"
            print(f"  {row.who} {row.setting}: {wall.runs[-1]:.2f} MB/s", flush=True)
    return [row for row in rows if row.setting == ONE] + walls


def _large(folder: Path, options: argparse.Namespace) -> list[Row]:
    """setsail alone on the large file, with what it found of the copies that were planted."""
    file = folder / "large.jsonl"
    made = write_corpus(file, int(options.megabytes * 1e6), seed=2)
    count = max(int(count) for count in options.processes.split(","))
    told = _run("setsail", file, count, folder / "large")
    if "error" in told:
        return [Row("large", "setsail", f"{count} processes", note=told["error"])]
    work = f"{file.stat().st_size / 1e6:.0f} MB"
    speed = Row(work, "setsail", f"{count} processes", [file.stat().st_size / 1e6 / told["cpu_seconds"]])
    speed.peak_bytes, speed.note = told["peak_bytes"], f"{len(made):,} documents, {told['wall_seconds']:.0f} s"
    drops = {int(d.origin.rpartition(":")[2]) - 1: d for d in read_drops(folder / "large" / "dropped.parquet")}
    # A copy of a row that went itself is held against the row that stays, which it may be too far from.
    near_of = {n: document.near for n, document in enumerate(made) if document.near is not None}
    planted = [n for n, original in near_of.items() if original not in drops and _is_near(made, n)]
    found = [n for n in planted if n in drops]
    exact = [n for n, document in enumerate(made) if document.exact is not None]
    near = [n for n, drop in drops.items() if drop.reason == "near_duplicate"]
    looked_at = random.Random(5).sample(near, min(2000, len(near)))
    true = [n for n in looked_at if _similar(made, n, int(drops[n].detail.rpartition(":")[2]) - 1) >= THRESHOLD]
    shares = {
        "recall of near copies": (len(found), len(planted)),
        "recall of exact copies": (sum(n in drops for n in exact), len(exact)),
        "precision of near copies": (len(true), len(looked_at)),
    }
    told_shares = [
        Row(work, "setsail", name, [part / whole], note=f"{part:,} of {whole:,}", unit="share")
        for name, (part, whole) in shares.items()
        if whole
    ]
    return [speed, *told_shares]


def _is_near(made: list[Made], number: int) -> bool:
    original = made[number].near
    return original is not None and _similar(made, number, original) >= THRESHOLD


def _similar(made: list[Made], left: int, right: int) -> float:
    # As the pipeline compares them: after cleaning and masking.
    texts = [redact([made[number].text]).texts[0] for number in (left, right)]
    return similarity(*texts, lambda text: WORDS.findall(normalised(text)))


def _run(who: str, file: Path, processes: int, out: Path) -> dict[str, Any]:
    python = sys.executable if who == "setsail" else str(PEERS)
    command = [python, str(HERE / "contestants" / SCRIPTS[who]), str(file), str(processes), str(out)]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent / "src"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=file.parent)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return {"error": (done.stderr.strip().splitlines() or ["no output"])[-1][:300]}
    return json.loads(lines[-1])


def _minhash(sample: Path) -> list[Row]:
    command = [str(PEERS), str(HERE / "contestants" / "data_minhash.py"), str(sample)]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent / "src")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    return [Row("minhash", who, "1 process", runs) for who, runs in json.loads(done.stdout).items()]


def _steps(sample: Path) -> list[Row]:
    """Each function by itself over the sample, in this process."""
    texts = [json.loads(line)["text"] for line in sample.read_text("utf-8").splitlines()]
    num_bytes = sum(len(text.encode()) for text in texts)
    works: dict[str, Any] = {}
    for step in steps_of(PRESETS["pretraining"]):
        works[step.name] = step.change or step.judge or step.mark
    works["mask personal data"] = lambda text: redact([text])
    rows = []
    for name, work in works.items():
        row = Row("steps", "setsail", name)
        for _ in range(ROUNDS):
            began = time.process_time()
            for text in texts:
                work(text)
            row.runs.append(num_bytes / 1e6 / max(1e-9, time.process_time() - began))
        rows.append(row)
    return rows


def _print(rows: list[Row]) -> None:
    best: dict[tuple[str, str, str], float] = {}
    for row in rows:
        if row.who != "setsail" and row.runs:
            key = (row.work, row.setting, row.unit)
            best[key] = max(best.get(key, 0.0), row.value)
    for row in rows:
        peer = best.get((row.work, row.setting, row.unit))
        ratio = f"{row.value / peer:6.1f}×" if peer and row.who == "setsail" else " " * 7
        memory = f"{row.peak_bytes / 1e6:7.0f} MB" if row.peak_bytes else " " * 10
        print(
            f"{row.work:<10}{row.who:<24}{row.setting:<28}{row.value:10.2f} {row.unit:<14}{ratio} {memory}  {row.note}"
        )


if __name__ == "__main__":
    main()
