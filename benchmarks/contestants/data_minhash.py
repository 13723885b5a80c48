"""Sketching alone, in one process: python data_minhash.py FILE, ours and datasketch's in turn, three times."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Sequence

from datasketch import MinHash

from setsail.data.sketch import PERMUTATIONS, normalised, sketch

WORDS = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]|[^\W\u3400-\u4dbf\u4e00-\u9fff]+")
ROUNDS = 3


def by_datasketch(texts: Sequence[str]) -> None:
    """The minima of each text's runs of five words, a batch a text."""
    for text in texts:
        words = WORDS.findall(normalised(text))
        minima = MinHash(num_perm=PERMUTATIONS)
        minima.update_batch([" ".join(words[at : at + 5]).encode() for at in range(max(1, len(words) - 4))])


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line in file]
    num_bytes = sum(len(text.encode()) for text in texts)
    sides: dict[str, Callable[[Sequence[str]], object]] = {"setsail": sketch, "datasketch": by_datasketch}
    runs: dict[str, list[float]] = {who: [] for who in sides}
    for _ in range(ROUNDS):
        for who, work in sides.items():
            began = time.process_time()
            work(texts)
            runs[who].append(num_bytes / 1e6 / (time.process_time() - began))
    print(json.dumps(runs))


if __name__ == "__main__":
    main()
