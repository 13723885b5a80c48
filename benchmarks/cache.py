"""`make bench-cache`: what an engine's memory is when all of its slots are full, by how fine it keeps what it has read.

The engine's own process, one thread, a run's first GGUF file; memory is the proportional set size (PSS, shared pages
divided) that the kernel tells after one token, and after every slot has held a whole context. The prompts are random
words, different in every slot, so that no prefix is shared. First-token log-probabilities stand beside those of f32.
"""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import asdict
from pathlib import Path

from row import Row

from setsail.base.machine import describe, versions
from setsail.base.run import Run
from setsail.engine import EngineProcess, GenerationRequest, generate_all
from setsail.engine.cache import BYTES, cache_bytes
from setsail.engine.contract import Special
from setsail.engine.gguf_limits import read_limits

RESULTS = Path(__file__).parent / "results" / "cache.json"
WRITTEN = 8  # tokens of each answer
CACHES = ("f32", "f16", "int8")


def pss_bytes(pid: int) -> int:
    """What a process holds now."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text("utf-8").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def fill(
    engine: str, cache: str, file: Path, context: int, prompts: list[tuple[int, ...]]
) -> tuple[int, int, list[float]]:
    """Bytes with empty slots and with full ones, and the log-probability of each first token."""
    with EngineProcess(engine, file, context, len(prompts), threads=1, special=Special(cache=cache)) as process:
        generate_all(process, [GenerationRequest(prompts[0][:1], 1)])
        assert process.pid is not None
        empty = pss_bytes(process.pid)
        answers = generate_all(process, [GenerationRequest(prompt, WRITTEN, num_logprobs=1) for prompt in prompts])
        return empty, pss_bytes(process.pid), [answer.logprobs[0] for answer in answers]


def main() -> None:
    """Measures every cache of every engine and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/support"))
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    file = next(iter(sorted(Run(options.run).artifact("gguf").path.glob("model-*.gguf"))))
    limits, chance = read_limits(file), random.Random(1)
    length = options.context - WRITTEN - 1
    prompts = [tuple(chance.randrange(3, limits.num_tokens) for _ in range(length)) for _ in range(options.slots)]
    work = f"{options.slots} slots of {options.context}"
    rows = []
    for engine in BYTES:
        finest: list[float] = []
        for cache in CACHES:
            empty, full, first = fill(engine, cache, file, options.context, prompts)
            finest = finest or first
            off = max(abs(one - other) for one, other in zip(first, finest, strict=True))
            told = cache_bytes(limits, engine, cache, context=options.context, slots=options.slots) or 0
            note = (
                f"empty {empty / 2**20:.0f} MiB, cache told {told / 2**20:.0f} MiB, first token off by {off:.3f} nats"
            )
            rows.append(Row(work, engine, cache, [full / 2**20], note=note, unit="MiB", better="lower"))
            print(f"{engine:<10} {cache:<5} {full / 2**20:7.0f} MiB   {note}", flush=True)
    described = {"machine": describe(), "versions": versions(), "model": file.name}
    saved = {"machine": described, "limits": {}, "rows": [{**asdict(row), "value": row.value} for row in rows]}
    options.results.write_text(json.dumps(saved, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
