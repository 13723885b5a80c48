"""What must be known of every row at once to decide over copies, labels and parts: some sixty bytes a row, in memory.

Rows are counted through all shards in the order of the source. What does not live here: the rows' texts, which stay in
their shards; the decisions (`choose.py`).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from setsail.data.sketch import PERMUTATIONS, Sketches

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Index:
    """N rows in S shards; shard `s` holds rows `starts[s]` to `starts[s + 1]`.

    Shapes: id, group, rank (by which its group is split), stratum (N,) uint64; grouped (N,) bool; label (N,) codes into
    `labels`; part (N,) names of parts, "" where none was given; time (N,) in seconds;
    characters (N,); exact (N, 2) uint64.
    """

    shards: tuple[Path, ...]
    starts: npt.NDArray[np.int64]
    id: npt.NDArray[np.uint64]
    group: npt.NDArray[np.uint64]
    rank: npt.NDArray[np.uint64]
    grouped: npt.NDArray[np.bool_]
    label: npt.NDArray[np.int32]
    labels: tuple[str, ...]
    part: npt.NDArray[np.str_]
    time: npt.NDArray[np.float64]
    stratum: npt.NDArray[np.uint64]
    characters: npt.NDArray[np.int64]
    exact: npt.NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.id)

    def origin(self, row: int) -> str:
        """Where a row came from."""
        shard, at = self.place(row)
        written = (shard / "rows.parquet").stat()
        return _origins(shard, (written.st_ino, written.st_mtime_ns))[at].as_py()

    def place(self, row: int) -> tuple[Path, int]:
        """The shard that holds a row, and its number there."""
        shard = int(np.searchsorted(self.starts, row, side="right")) - 1
        return self.shards[shard], row - int(self.starts[shard])

    def label_of(self, row: int) -> str:
        """A row's label."""
        return self.labels[self.label[row]]


def load_index(shards: Sequence[Path]) -> Index:
    """The index of all rows in these shards."""
    parts = []
    for shard in shards:
        with np.load(shard / "index.npz") as file:
            parts.append({name: file[name] for name in file.files})
    labels = sorted({str(label) for part in parts for label in part["labels"]})
    code = {label: number for number, label in enumerate(labels)}
    recoded = [np.array([code[str(name)] for name in part["labels"]], np.int32)[part["label"]] for part in parts]
    joined = {
        name: np.concatenate([part[name] for part in parts])
        for name in ("id", "group", "rank", "grouped", "part", "time", "stratum", "characters", "exact")
    }
    starts = np.cumsum([0, *(len(part["id"]) for part in parts)])
    return Index(tuple(shards), starts, label=np.concatenate(recoded), labels=tuple(labels), **joined)


def load_sketches(index: Index, scratch: Path) -> Sketches:
    """The sketches of all rows, put together in `scratch` and read from the disk as they are needed."""
    grams_of = [int(np.load(shard / "starts.npy", mmap_mode="r")[-1]) for shard in index.shards]
    shapes = {"minhash": ((len(index), PERMUTATIONS), np.uint32), "grams": ((sum(grams_of),), np.uint32)}
    made = {}
    for name, (shape, kind) in shapes.items():
        if not shape[0]:
            made[name] = np.empty(shape, kind)
            continue
        whole = np.lib.format.open_memmap(scratch / f"{name}.npy", mode="w+", dtype=kind, shape=shape)
        place = 0
        for shard in index.shards:
            piece = np.load(shard / f"{name}.npy", mmap_mode="r")
            whole[place : place + len(piece)] = piece
            place += len(piece)
        whole.flush()
        made[name] = np.load(scratch / f"{name}.npy", mmap_mode="r")
    before = np.cumsum([0, *grams_of])
    starts = [np.load(shard / "starts.npy")[:-1] + at for shard, at in zip(index.shards, before, strict=False)]
    return Sketches(index.exact, starts=np.concatenate([*starts, before[-1:]]), **made)


@functools.lru_cache(maxsize=64)
def _origins(shard: Path, version: tuple[int, int]) -> pa.ChunkedArray:
    """The places of a shard's rows; `version` tells it from another that was written in the same folder before."""
    return pq.read_table(shard / "rows.parquet", columns=["origin"]).column("origin")
