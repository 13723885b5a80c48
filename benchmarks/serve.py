"""`make bench-serve`: the HTTP server against its bare engine in the same run, for 1 and 8 clients at once.

Both read the same GGUF file with the same engine and settings; rounds alternate; medians of three. Needs a sailed run:
`make demo` first.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil

from setsail.base.machine import describe, versions
from setsail.base.recipe import Recipe
from setsail.base.run import Run
from setsail.data.row import Row, read_rows
from setsail.engine.batch import generate_all
from setsail.engine.contract import GenerationRequest
from setsail.engine.process import EngineProcess
from setsail.evaluate.question import choose_rows, question_of
from setsail.serve.client import Client
from setsail.stages.base import tokenizer_of
from setsail.stages.engines import file_to_serve, open_process
from setsail.stages.serving import read_run, served_apart
from setsail.tokens.render import render
from setsail.tokens.tokenizer import Tokenizer

RESULTS = Path(__file__).parent / "results" / "serve.json"
NUM_TOKENS = 64
ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/support"))
    parser.add_argument("--engine", default=None)
    options = parser.parse_args()
    run, recipe = read_run(options.run)
    rows = choose_rows(read_rows(run.artifact("data").file("test.parquet")), 8, seed=1)
    measured = measure(run, recipe, rows, options.engine)
    report(measured, run, recipe)


def measure(run: Run, recipe: Recipe, rows: Sequence[Row], engine: str | None) -> dict[tuple[int, str], list[float]]:
    """Tokens per second of each (clients, who), one for each round."""
    artifact = run.artifact("gguf")
    file = file_to_serve(artifact, recipe, engine)
    tokenizer = tokenizer_of(artifact)
    name = f"bare {file.engine}"
    measured: dict[tuple[int, str], list[float]] = {}
    with (
        open_process(file, recipe) as process,
        served_apart(run.path, engine=engine) as address,
        Client(address) as client,
    ):
        client.wait_until_ready()
        sides: dict[str, Callable[[int], int]] = {
            name: lambda count: bare(process, tokenizer, rows[:count]),
            "setsail serve": lambda count: over_http(client, recipe.name, rows[:count]),
        }
        for side in sides.values():
            side(8)
        for _ in range(ROUNDS):
            for count in (1, 8):
                for who, side in sides.items():
                    began = time.perf_counter()
                    tokens = side(count)
                    measured.setdefault((count, who), []).append(tokens / (time.perf_counter() - began))
    return measured


def bare(process: EngineProcess, tokenizer: Tokenizer, rows: Sequence[Row]) -> int:
    """All prompts at once into the engine process, nothing between."""
    prompts = [render(tokenizer, question_of(row).prompt, generation_prompt=True) for row in rows]
    requests = [
        GenerationRequest(tuple(p.ids), NUM_TOKENS, stop_ids=(p.stop_id, *sorted(tokenizer.eos_ids))) for p in prompts
    ]
    return sum(len(done.token_ids) for done in generate_all(process, requests))


def over_http(client: Client, model: str, rows: Sequence[Row]) -> int:
    """The same prompts as messages, each by a client of its own."""

    def ask(row: Row) -> int:
        return client.chat(question_of(row).prompt, model=model, temperature=0, max_tokens=NUM_TOKENS).num_tokens

    with ThreadPoolExecutor(len(rows)) as pool:
        return sum(pool.map(ask, rows))


def memory_gb_per_s() -> float:
    """What one copy of a large array moves, read and written."""
    source = np.zeros(2**27, dtype=np.uint8)
    target = np.empty_like(source)
    target[:] = source
    began = time.perf_counter()
    for _ in range(4):
        target[:] = source
    return 4 * 2 * source.nbytes / (time.perf_counter() - began) / 1e9


def report(measured: dict[tuple[int, str], list[float]], run: Run, recipe: Recipe) -> None:
    file = file_to_serve(run.artifact("gguf"), recipe).path
    limit = memory_gb_per_s()
    rows = [
        {
            "work": f"{count} client{'s' if count > 1 else ''}",
            "who": who,
            "setting": "default",
            "value": round(statistics.median(runs), 1),
            "unit": "tokens/s",
            "better": "higher",
            "runs": [round(value, 1) for value in runs],
            "note": f"{NUM_TOKENS} new tokens at most, greedy, {file.name}",
        }
        for (count, who), runs in measured.items()
    ]
    machine = {"machine": describe(), "load": psutil.getloadavg()[0], "versions": versions()}
    decode_limit = limit * 1e9 / file.stat().st_size
    limits = {"memory_gb_per_s": round(limit, 1), "decode_tokens_per_s_of_one_request": round(decode_limit)}
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps({"machine": machine, "limits": limits, "rows": rows}, indent=1) + "\n")
    print(f"{'work':<12}{'who':<18}{'tokens/s':>10}   runs")
    for row in rows:
        print(f"{row['work']:<12}{row['who']:<18}{row['value']:>10}   {row['runs']}")
    for count in (1, 8):
        values = {who: statistics.median(runs) for (n, who), runs in measured.items() if n == count}
        bare_value = next(value for who, value in values.items() if who != "setsail serve")
        print(f"{count} at once: HTTP keeps {values['setsail serve'] / bare_value:.0%} of the bare engine")
    print(f"limit: memory {limit:.1f} GB/s, so one request alone can reach {decode_limit:.0f} tokens/s   {RESULTS}")


if __name__ == "__main__":
    main()
