"""`make bench-train`: training speed against peers in the same run, in non-padding tokens per CPU-second of one thread.

Works: A pretrains a Llama shape of 15 million parameters on documents of 20 to 256 tokens; B fine-tunes SmolLM2-135M
with LoRA on chats of 20 to 200 tokens; B-full trains all its weights; C trains all weights of an encoder of
MiniLM-L6's shape to classify texts of 10 to 128 tokens, with no dropout inside attention on any side; C-lstm does
that with an LSTM of two million weights, beside a lean loop around torch's own: no Trainer knows it. Every side
computes the same shape with the same number of tokens in a step, each in a process of its own with one thread. Each
peer runs at its defaults and at the best of the settings tried here for each work; rounds alternate; medians. Beside it
stands what this machine's matrix products reach at the shapes of the work, in the same run: the speed of a trainer that
did nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from row import Row
from transformers import (
    AutoConfig,
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
)

from setsail.base.log import Log
from setsail.base.machine import describe, versions
from setsail.models.load import import_base
from setsail.models.pre_tokenizers import PRE_TOKENIZERS
from setsail.models.words import build_words, register
from setsail.tokens.train import train_tokenizer

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "train.json"
PEERS = Path(os.environ.get("BENCH_PEERS", HERE.parent / ".benchvenv" / "bin" / "python"))
WORKS = "A,B,B-full,C,C-lstm"
ROUNDS, SECONDS, TRIAL_SECONDS = 3, 15.0, 6.0
ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "68719476736"}
OURS = "setsail"
UNIT = "tokens/cpu_second"
TEXTS = ["a a b b"]
NUM_LABELS = 4


@dataclass(frozen=True)
class Contestant:
    """A script under contestants/, the settings to try for "best", and its defaults where it has such."""

    who: str
    script: str
    candidates: tuple[dict[str, Any], ...]
    default: dict[str, Any] | None = None
    works: tuple[str, ...] = ("A", "B", "B-full", "C")


CLASSIFYING = ("C", "C-lstm")


def trainer_arguments(batch: int, **more: Any) -> dict[str, Any]:
    return {"per_device_train_batch_size": batch, "gradient_checkpointing": False, **more}


GROUPED = {"train_sampling_strategy": "group_by_length"}
CONTESTANTS = (
    Contestant(
        OURS,
        "ours.py",
        ({"micro_batch": 1024}, {"micro_batch": 2048}, {"micro_batch": 4096}),
        works=("A", "B", "B-full", "C", "C-lstm"),
    ),
    Contestant("plain loop", "plain_lstm.py", ({"dtype": "bfloat16"}, {"dtype": "float32"}), works=("C-lstm",)),
    Contestant("plain loop", "plain.py", ({"dtype": "bfloat16"}, {"dtype": "float32"})),
    Contestant(
        "HF Trainer",
        "hf_trainer.py",
        (
            {"dtype": "bfloat16", "arguments": trainer_arguments(16, **GROUPED)},
            {"dtype": "bfloat16", "arguments": trainer_arguments(40, **GROUPED)},
            {"dtype": "float32", "arguments": trainer_arguments(40, bf16=True, **GROUPED)},
        ),
        default={},
        works=("A", "B", "B-full"),
    ),
    Contestant(  # 60 texts of C are the 4,096 tokens of a step
        "HF Trainer",
        "hf_trainer.py",
        (
            {"dtype": "bfloat16", "arguments": trainer_arguments(16, **GROUPED)},
            {"dtype": "bfloat16", "arguments": trainer_arguments(60, **GROUPED)},
            {"dtype": "float32", "arguments": trainer_arguments(60, bf16=True, **GROUPED)},
        ),
        default={},
        works=("C",),
    ),
    Contestant(
        "TRL",
        "trl_sft.py",
        (
            {"dtype": "bfloat16", "arguments": trainer_arguments(16, bf16=False, **GROUPED)},
            {"dtype": "bfloat16", "arguments": trainer_arguments(40, bf16=False, **GROUPED)},
        ),
        default={},
        works=("A", "B", "B-full"),
    ),
    Contestant(
        "LitGPT",
        "litgpt_loop.py",
        (
            {"precision": "bf16-true", "compile": False, "fused": True, "block": 256, "rows": 16},
            {"precision": "bf16-true", "compile": True, "fused": True, "block": 256, "rows": 16},
        ),
        default={"precision": "32-true", "compile": False, "fused": False, "block": 2048, "rows": 1},
        works=("A",),
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--works", default=WORKS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="CPU-seconds of each run")
    parser.add_argument("--only", default="", help="who takes part, comma separated; all by default")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    taking_part = [c for c in CONTESTANTS if not options.only or c.who in options.only.split(",")]
    rows: list[Row] = []
    limits: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in options.works.split(","):
            work = make_work(name, Path(folder))
            limits[name] = roof(work)
            rows += compete(name, work, [c for c in taking_part if name in c.works], options)
    report(rows, limits, complete=not options.only and options.works == WORKS and options.seconds == SECONDS)


def make_work(name: str, folder: Path) -> Path:
    """Writes the work's model and documents; the tokens are random, since time does not depend on them."""
    model = folder / {"A": "A", "C": "C", "C-lstm": "lstm"}.get(name, "smollm2")
    if name == "A" and not model.exists():
        torch.manual_seed(0)
        shape = {"hidden_size": 288, "intermediate_size": 768, "num_hidden_layers": 6, "vocab_size": 32000}
        config = LlamaConfig(**shape, num_attention_heads=6, num_key_value_heads=6, tie_word_embeddings=True)
        LlamaForCausalLM(config).save_pretrained(model)
        cutting = PRE_TOKENIZERS["gpt-2"]()  # TRL wants a tokenizer in the folder, though the rows are ids already
        train_tokenizer(TEXTS, model, vocabulary=260, context=2048, pre_tokenizer=cutting)
    elif name == "C":
        write_encoder(model)
    elif name == "C-lstm":
        register()
        build_words("lstm", 2_000_000, vocabulary=8192, context=128, pad=0, seed=0).save_pretrained(model)
    elif not model.exists():
        import_base("smollm2-135m-instruct", model, Log(quiet=True))
    draw = np.random.default_rng(1)
    shortest, longest = {"A": (20, 256), **dict.fromkeys(CLASSIFYING, (10, 128))}.get(name, (20, 200))
    vocabulary = AutoConfig.from_pretrained(model).vocab_size
    documents = [draw.integers(10, vocabulary, draw.integers(shortest, longest + 1)).tolist() for _ in range(2000)]
    work = {
        "documents": documents,
        "first_learned": [
            {"A": 1, **dict.fromkeys(CLASSIFYING, len(ids))}.get(name, len(ids) // 2) for ids in documents
        ],
        "model": str(model),
        "method": "lora" if name == "B" else "full",
        "tokens_per_step": 4096,
        "learning_rate": 1e-4,
        "lora_rank": 8,
        "labels": draw.integers(0, NUM_LABELS, len(documents)).tolist() if name in CLASSIFYING else None,
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(work), "utf-8")
    return path


def write_encoder(folder: Path) -> None:
    """Random weights in MiniLM-L6's shape, with a head for a few labels."""
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=384,
        intermediate_size=1536,
        num_hidden_layers=6,
        num_attention_heads=12,
        attention_probs_dropout_prob=0.0,
        num_labels=NUM_LABELS,
    )
    BertForSequenceClassification(config).save_pretrained(folder)


def compete(name: str, work: Path, contestants: list[Contestant], options: argparse.Namespace) -> list[Row]:
    """Chooses each side's best setting once, then lets all run in turns."""
    lines: list[tuple[Contestant, dict[str, Any], Row]] = []
    for contestant in contestants:
        if contestant.default is not None:
            lines.append((contestant, contestant.default, Row(name, contestant.who, "default", unit=UNIT)))
        best = choose(contestant, work, min(TRIAL_SECONDS, options.seconds))
        lines.append((contestant, best, Row(name, contestant.who, "best", note=json.dumps(best), unit=UNIT)))
    for _ in range(options.rounds):
        for contestant, setting, row in lines:
            outcome = run(contestant, work, setting, options.seconds)
            if "tokens" not in outcome:
                row.note = outcome["error"]
                continue
            row.runs.append(round(outcome["tokens"] / outcome["cpu_seconds"], 1))
            row.peak_bytes = max(row.peak_bytes, outcome["peak_bytes"])
            print(f"{name:<7}{row.who:<12}{row.setting:<9}{row.runs[-1]:>9.1f}  losses {outcome['losses']}", flush=True)
    return [row for _, _, row in lines]


def choose(contestant: Contestant, work: Path, seconds: float) -> dict[str, Any]:
    """The candidate with the most tokens per CPU-second in one short trial, with the allocator setting and without."""
    trials = [{**candidate, "allocator": kept} for candidate in contestant.candidates for kept in (True, False)]
    if contestant.who == OURS:
        trials = [dict(candidate) for candidate in contestant.candidates]  # it sets its allocator itself
    speeds = []
    for trial in trials:
        outcome = run(contestant, work, trial, seconds)
        speeds.append(outcome["tokens"] / outcome["cpu_seconds"] if "tokens" in outcome else 0.0)
        print(
            f"        trial {contestant.who} {json.dumps(trial)}: {speeds[-1]:.0f} {outcome.get('error', '')}",
            flush=True,
        )
    return trials[int(np.argmax(speeds))]


def run(contestant: Contestant, work: Path, setting: dict[str, Any], seconds: float) -> dict[str, Any]:
    """One process, one thread; its outcome, or the last line of its complaint."""
    python = sys.executable if contestant.who == OURS else str(PEERS)
    plain = {key: value for key, value in setting.items() if key != "allocator"}
    script = HERE / "contestants" / contestant.script
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    environment |= ALLOCATOR if setting.get("allocator") else {}
    done = subprocess.run(
        [python, str(script), str(work), json.dumps(plain), str(seconds)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return {"error": (done.stderr.strip().splitlines() or ["no output"])[-1][:200]}
    return json.loads(lines[-1])


def roof(work: Path) -> dict[str, float]:
    """Tokens per CPU-second of a trainer that computes nothing but the model's matrix products, in bfloat16."""
    described = json.loads(work.read_text("utf-8"))
    learned = 1 - sum(described["first_learned"]) / sum(len(ids) for ids in described["documents"])
    arguments = [described["model"], described["method"], str(round(learned, 3))]
    done = subprocess.run(
        [sys.executable, str(HERE / "contestants" / "roof.py"), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def report(rows: list[Row], limits: dict[str, Any], *, complete: bool) -> None:
    """Prints the table with ratios to the best peer and to the limit; saves it where every side took part."""
    for line in table(rows, limits):
        print(line)
    if complete:
        saved = {
            "machine": {"described": describe(), "versions": versions(), "threads": 1},
            "limits": limits,
            "rows": [{**asdict(row), "value": row.value} for row in rows],
        }
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(saved, indent=1) + "\n", "utf-8")
        print(f"saved {RESULTS}")


def table(rows: list[Row], limits: dict[str, Any]) -> Iterator[str]:
    yield f"{'work':<8}{'who':<13}{'setting':<9}{'tokens/CPU-s':>13}{'ours is':>9}{'of limit':>10}{'memory':>9}"
    for row in rows:
        ours = next((other.value for other in rows if other.work == row.work and other.who == OURS), 0.0)
        ratio = f"{ours / row.value:.2f}×" if row.value else "–"
        share = f"{row.value / limits[row.work]['tokens_per_cpu_second']:.0%}"
        memory = f"{row.peak_bytes / 2**30:.1f} GiB"
        yield f"{row.work:<8}{row.who:<13}{row.setting:<9}{row.value:>13.0f}{ratio:>9}{share:>10}{memory:>9}"


if __name__ == "__main__":
    main()
