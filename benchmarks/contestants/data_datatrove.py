"""The same pipeline by datatrove: python data_datatrove.py FILE PROCESSES OUT.

Cleaning and masking are setsail's functions, called from a step of datatrove's; near copies are datatrove's MinHash in
its four stages with 16 buckets of 4, as many permutations as ours. Each stage starts its own processes, as datatrove
does.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from data_meter import metered
from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter, ParquetWriter
from loguru import logger

from setsail.data.clean import clean_row
from setsail.data.privacy.redactor import redact
from setsail.data.row import Row
from setsail.data.steps.registry import steps_of


class Treat(PipelineStep):
    """Cleans and masks each document."""

    name = "clean and mask"

    def run(self, data: Iterable[Any], rank: int = 0, world_size: int = 1) -> Iterable[Any]:
        steps = steps_of("standard")
        for document in data:
            cleaned = clean_row(Row(document.id, (), document.text, "", document.id), steps).row
            document.text = redact([getattr(cleaned, "text", "")]).texts[0]
            yield document


def main() -> None:
    logger.remove()
    file, processes, out = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    config = MinhashConfig(num_buckets=16, hashes_per_bucket=4)
    halves = _halves(file, processes, out / "in")
    folder = {name: str(out / name) for name in ("treated", "signatures", "buckets", "removed", "kept")}
    with metered() as told:
        _execute([JsonlReader(str(halves)), Treat(), JsonlWriter(folder["treated"], compression=None)], processes)
        treated = JsonlReader(folder["treated"])
        _execute([treated, MinhashDedupSignature(folder["signatures"], config=config)], processes)
        buckets = MinhashDedupBuckets(folder["signatures"], folder["buckets"], config=config)
        _execute([buckets], 16, workers=processes)
        _execute([MinhashDedupCluster(folder["buckets"], folder["removed"], config=config)], 1)
        _execute([treated, MinhashDedupFilter(folder["removed"]), ParquetWriter(folder["kept"])], processes)
        told["kept"] = sum(pq.read_metadata(path).num_rows for path in Path(folder["kept"]).glob("*.parquet"))


def _execute(steps: list[Any], tasks: int, *, workers: int | None = None) -> None:
    LocalPipelineExecutor(steps, tasks=tasks, workers=workers or tasks, logging_dir=None).run()


def _halves(file: Path, count: int, folder: Path) -> Path:
    """The file in as many parts as processes, since datatrove gives each a file."""
    folder.mkdir(parents=True)
    lines = file.read_text("utf-8").splitlines(keepends=True)
    for number in range(count):
        part = lines[number * len(lines) // count : (number + 1) * len(lines) // count]
        (folder / f"{number}.jsonl").write_text("".join(part), encoding="utf-8")
    return folder


if __name__ == "__main__":
    main()
