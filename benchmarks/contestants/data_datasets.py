"""The same pipeline by `datasets.map`, with our own functions for the text and datasketch for near copies.

python data_datasets.py FILE PROCESSES OUT. Cleaning, masking and exact copies are setsail's functions, row by row;
near copies are datasketch's MinHash and LSH with as many permutations and the same runs of five words.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from data_meter import metered
from datasketch import MinHash, MinHashLSH

from setsail.data.clean import clean_row
from setsail.data.privacy.redactor import redact
from setsail.data.row import Row
from setsail.data.sketch import PERMUTATIONS, normalised
from setsail.data.steps.registry import steps_of

WORDS = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]|[^\W\u3400-\u4dbf\u4e00-\u9fff]+")
THRESHOLD = 0.85
STEPS = steps_of("standard")
SCHEME = MinHash(num_perm=PERMUTATIONS).scheme


def treat(row: dict[str, Any], index: int) -> dict[str, Any]:
    """A row cleaned, masked and sketched."""
    cleaned = clean_row(Row(str(index), (), row["text"], "", str(index)), STEPS).row
    text = redact([getattr(cleaned, "text", "")]).texts[0]
    same = normalised(text)
    words = WORDS.findall(same)
    sketch = MinHash(num_perm=PERMUTATIONS)
    sketch.update_batch([" ".join(words[at : at + 5]).encode() for at in range(max(1, len(words) - 4))])
    return {"text": text, "same": same, "minima": sketch.hashvalues}


def main() -> None:
    datasets.disable_progress_bars()
    file, processes, out = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    with metered() as told:
        rows = datasets.load_dataset("json", data_files=str(file), split="train", cache_dir=str(out))
        treated = rows.map(treat, with_indices=True, num_proc=processes if processes > 1 else None)
        kept = _without_copies(treated)
        parts = treated.select(kept).remove_columns(["same", "minima"]).train_test_split(0.2, seed=1)
        held = parts["test"].train_test_split(0.5, seed=1)
        for name, part in (("train", parts["train"]), ("validation", held["train"]), ("test", held["test"])):
            part.to_parquet(out / f"{name}.parquet")
        told["kept"] = len(kept)


def _without_copies(rows: datasets.Dataset) -> list[int]:
    seen: set[str] = set()
    index = MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS)
    kept = []
    for number, row in enumerate(rows):
        minima = np.array(row["minima"], dtype=np.uint64)
        sketch = MinHash(num_perm=PERMUTATIONS, hashvalues=minima, scheme=SCHEME)
        if row["same"] in seen or index.query(sketch):
            continue
        seen.add(row["same"])
        index.insert(number, sketch)
        kept.append(number)
    return kept


if __name__ == "__main__":
    main()
