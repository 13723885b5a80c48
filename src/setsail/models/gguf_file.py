"""Reading GGUF files written by anybody: every count, length and offset is held against the file before it is used.

A parser of our own, since the usual reader spends seconds on one array object per string of the vocabulary, and trusts
what it reads. What the values mean for a model lives in gguf_model.py. The invariant: `read` returns fast or raises
ModelError, and a tensor it lists lies inside the file.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

from setsail.base.errors import ModelError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32
MOST_DIMENSIONS = 4
STRING, ARRAY = 8, 9
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
SMALLEST_PAIR_BYTES = 8 + 4 + 1
SMALLEST_TENSOR_BYTES = 8 + 4 + 8 + 4 + 8


@dataclass(frozen=True)
class GgufTensor:
    """Where one tensor lies; `shape` is in the order of numpy and torch (rows first)."""

    name: str
    shape: tuple[int, ...]
    kind: GGMLQuantizationType
    offset: int
    num_bytes: int


@dataclass(frozen=True)
class GgufModel:
    """A GGUF file: metadata read, tensors dequantised on demand."""

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, GgufTensor]

    @property
    def architecture(self) -> str:
        return str(self.metadata.get("general.architecture", ""))

    def raw(self, name: str) -> np.ndarray:
        """A tensor's bytes as they lie in the file, mapped, not copied."""
        tensor = self.tensors[name]
        return np.memmap(self.path, mode="r", offset=tensor.offset, shape=(tensor.num_bytes,), dtype=np.uint8)

    def dequantised(self, name: str) -> np.ndarray:
        """A tensor as float32."""
        tensor = self.tensors[name]
        block_elements, block_bytes = GGML_QUANT_SIZES[tensor.kind]
        rows = self.raw(name).reshape(*tensor.shape[:-1], tensor.shape[-1] // block_elements * block_bytes)
        return dequantize(_as_stored(rows, tensor.kind), tensor.kind).astype(np.float32, copy=False)


def read(path: Path) -> GgufModel:
    """The metadata and the list of tensors of a GGUF file.

    Raises: ModelError, with the place in the file, for anything that is not a whole and sound GGUF file.
    """
    if not path.is_file():
        raise ModelError(f'"{path}" does not exist', hint="check the path; a GGUF base is one file ending in .gguf")
    if path.stat().st_size < 24:
        raise _damaged(path, "it is too short to be a GGUF file")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            return _parse(path, content)
        except _MalformedError as error:
            raise _damaged(path, str(error)) from error


class _MalformedError(Exception):
    """Something in the file that cannot be; the message says what and where."""


class _Cursor:
    """A place in the file that never leaves it."""

    def __init__(self, content: mmap.mmap) -> None:
        self.content = content
        self.place = 0
        self.size = len(content)

    def need(self, num_bytes: int, what: str) -> None:
        if num_bytes > self.size - self.place:
            raise _MalformedError(
                f"at byte {self.place} {what} needs {num_bytes} bytes, {self.size - self.place} are left"
            )

    def number(self, code: str, what: str) -> Any:
        size = struct.calcsize("<" + code)
        self.need(size, what)
        (value,) = struct.unpack_from("<" + code, self.content, self.place)
        self.place += size
        return value

    def text(self, what: str) -> str:
        length = self.number("Q", what)
        self.need(length, what)
        raw = self.content[self.place : self.place + length]
        self.place += length
        # Some vocabularies hold tokens that are not whole UTF-8 sequences; keys and names that are not will match
        # nothing.
        return raw.decode("utf-8", errors="surrogateescape")

    def array(self, kind: int, count: int, what: str) -> list[Any]:
        if kind == STRING:
            self.need(8 * count, what)
            return [self.text(what) for _ in range(count)]
        if kind not in SCALARS:
            raise _MalformedError(f"{what} is an array of the unknown kind {kind}")
        size = count * struct.calcsize("<" + SCALARS[kind])
        self.need(size, what)
        values = np.frombuffer(self.content, dtype="<" + SCALARS[kind], count=count, offset=self.place).tolist()
        self.place += size
        return values

    def value(self, kind: int, what: str) -> Any:
        if kind == STRING:
            return self.text(what)
        if kind == ARRAY:
            item_kind, count = self.number("I", what), self.number("Q", what)
            return self.array(item_kind, count, what)
        if kind not in SCALARS:
            raise _MalformedError(f"{what} is of the unknown kind {kind}")
        return self.number(SCALARS[kind], what)


def _parse(path: Path, content: mmap.mmap) -> GgufModel:
    if content[:4] != MAGIC:
        raise _MalformedError(f"it begins with {bytes(content[:4])!r}, not with {MAGIC!r}")
    cursor = _Cursor(content)
    cursor.place = 4
    version = cursor.number("I", "the version")
    if version not in VERSIONS:
        raise _MalformedError(f"its version is {version}, readable are {VERSIONS[0]} to {VERSIONS[-1]} (little-endian)")
    num_tensors, num_pairs = cursor.number("Q", "the tensor count"), cursor.number("Q", "the metadata count")
    cursor.need(num_pairs * SMALLEST_PAIR_BYTES + num_tensors * SMALLEST_TENSOR_BYTES, "the header")
    metadata = _read_metadata(cursor, num_pairs)
    infos = [_read_tensor_info(cursor) for _ in range(num_tensors)]
    alignment = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
        raise _MalformedError(f"general.alignment is {alignment!r}, not a power of two")
    start = math.ceil(cursor.place / alignment) * alignment
    return GgufModel(path, metadata, _place_tensors(infos, start, alignment, cursor.size))


def _read_metadata(cursor: _Cursor, num_pairs: int) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    for number in range(num_pairs):
        key = cursor.text(f"metadata key {number}")
        if key in metadata:
            raise _MalformedError(f'metadata key "{key}" stands twice')
        metadata[key] = cursor.value(cursor.number("I", f'the kind of "{key}"'), f'metadata "{key}"')
    return metadata


def _read_tensor_info(cursor: _Cursor) -> tuple[str, tuple[int, ...], int, int]:
    name = cursor.text("a tensor's name")
    what = f'tensor "{name}"'
    num_dimensions = cursor.number("I", what)
    if not 1 <= num_dimensions <= MOST_DIMENSIONS:
        raise _MalformedError(f"{what} has {num_dimensions} dimensions")
    shape = tuple(reversed([cursor.number("Q", what) for _ in range(num_dimensions)]))
    return name, shape, cursor.number("I", what), cursor.number("Q", what)


def _place_tensors(
    infos: list[tuple[str, tuple[int, ...], int, int]], start: int, alignment: int, file_bytes: int
) -> dict[str, GgufTensor]:
    """Every tensor with its place in the file; inside it, aligned, and apart from the others."""
    tensors: dict[str, GgufTensor] = {}
    for name, shape, kind_number, offset in infos:
        what = f'tensor "{name}"'
        if name in tensors:
            raise _MalformedError(f"{what} stands twice")
        if kind_number not in set(GGMLQuantizationType):
            raise _MalformedError(f"{what} is of the unknown kind {kind_number}")
        kind = GGMLQuantizationType(kind_number)
        block_elements, block_bytes = GGML_QUANT_SIZES[kind]
        if min(shape) < 1 or shape[-1] % block_elements:
            raise _MalformedError(f"{what} has shape {shape}, impossible as {kind.name}")
        num_bytes = math.prod(shape) // block_elements * block_bytes
        if offset % alignment or start + offset + num_bytes > file_bytes:
            raise _MalformedError(f"{what} says bytes {start + offset} to {start + offset + num_bytes} of {file_bytes}")
        tensors[name] = GgufTensor(name, shape, kind, start + offset, num_bytes)
    spans = sorted((tensor.offset, tensor.offset + tensor.num_bytes, tensor.name) for tensor in tensors.values())
    for before, after in pairwise(spans):
        if after[0] < before[1]:
            raise _MalformedError(f'tensors "{before[2]}" and "{after[2]}" overlap')
    return tensors


def _as_stored(rows: np.ndarray, kind: GGMLQuantizationType) -> np.ndarray:
    """Bytes viewed as the element type that `dequantize` expects: floats as floats, blocks as bytes."""
    if kind == GGMLQuantizationType.F32:
        return rows.view(np.float32)
    if kind == GGMLQuantizationType.F16:
        return rows.view(np.float16)
    return rows


def _damaged(path: Path, what: str) -> ModelError:
    return ModelError(
        f"the GGUF file is damaged or cut short: {what}", place=str(path), hint="copy or download the file again"
    )
