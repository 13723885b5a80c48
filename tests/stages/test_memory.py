"""A corpus is trained on without being held in memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from setsail.tokens.pack import Example
from setsail.tokens.store import FILES, write_store

NUM_TOKENS = 20_000_000
VOCABULARY = 150_000

PROGRAM = """
import json, sys
from pathlib import Path

from setsail.base.recipe import Recipe
from setsail.stages.lessons.objectives import lesson_of
from setsail.stages.learn.training import plan_steps
from setsail.tokens.store import open_store


def anonymous_bytes():
    "What this process holds of its own; pages of mapped files are not in it."
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


before = anonymous_bytes()
recipe = Recipe(name="toy", task="text", data={"source": "x"}, pretrain={"epochs": 1.5, "batch_tokens": 16384})
lesson = lesson_of(recipe, "decoder", tokenizer=None)
steps = plan_steps(open_store(Path(sys.argv[1])), recipe.training, 1, lesson)
counts = [len(steps), steps.num_micro_batches, steps.num_tokens, steps.num_supervised]
peak, came = anonymous_bytes(), [0, 0, 0, 0]
for step in steps:
    batches = [1, len(step), sum(b.num_tokens for b in step), sum(b.num_supervised for b in step)]
    came = [a + b for a, b in zip(came, batches)]
    peak = max(peak, anonymous_bytes())
print(json.dumps({"counts": counts, "came": came, "peak": peak - before}))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="anonymous memory is read from /proc")
def test_training_holds_a_small_part_of_what_it_trains_on(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    lengths = draw.integers(100, 401, NUM_TOKENS // 250)
    ids = draw.integers(0, VOCABULARY, 1000, dtype=np.int32)
    mask = draw.random(1000) < 0.5
    examples = (Example(ids[:length], mask[:length], f"{number:016x}") for number, length in enumerate(lengths))
    write_store(tmp_path, examples, vocabulary=VOCABULARY)
    num_bytes = sum((tmp_path / name).stat().st_size for name in FILES)
    assert num_bytes > 80_000_000
    done = subprocess.run([sys.executable, "-c", PROGRAM, tmp_path], capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert told["counts"] == told["came"]
    assert told["came"][2] > 1.49 * lengths.sum()
    assert told["peak"] < num_bytes / 4, told
