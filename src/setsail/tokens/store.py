"""Examples on the disk, mapped into memory: written once, in order, and then read in any order for nothing.

Five raw little-endian files and a header. `ids.bin` holds every token of every example one after the other, as 16 or
32 bits; `loss_mask.bin` a bit for each of them, the lowest first; `documents.bin` a record for each example;
`row_ids.bin` the ids of their rows; and `labels.bin` their labels, nothing where they have none. What does not live
here: who tokenises, and where a store stands. Invariants: the same examples give the same bytes however they were cut
into stores and joined; a store without its header, which is written last, is no store.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from setsail.base.errors import DamagedArtifact
from setsail.base.files import explained_os_errors, sha256_of
from setsail.tokens.pack import Example

FORMAT_VERSION = 2
HEADER = "store.json"
FILES = ("ids.bin", "loss_mask.bin", "documents.bin", "row_ids.bin", "labels.bin")
IDS, LOSS_MASK, DOCUMENTS, ROW_IDS, LABELS = FILES
# Where an example's ids, row id and label end in their files; they begin where those of the one before it end.
_ENDS = ("end", "row_id_end", "label_end")
DOCUMENT = np.dtype([*((name, "<i8") for name in _ENDS), ("num_supervised", "<i4"), ("change", "<i4")])
CHANGES = ("", "cut", "split")
_TOKENS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class _Block:
    """Some examples on their way to the disk. Shapes: ids, loss_mask [T]; documents [D], ends from the block's own."""

    ids: npt.NDArray[np.integer[Any]]
    loss_mask: npt.NDArray[np.bool_]
    documents: npt.NDArray[np.void]
    row_ids: bytes
    labels: bytes


def write_store(folder: Path, examples: Iterable[Example], *, vocabulary: int) -> None:
    """Writes examples as a store into `folder`; ids are below `vocabulary`. About a million tokens are held at once.

    Nothing is forced to the disk: whoever publishes the folder does that, or verifies it when it is opened.

    Raises:
        SystemRefusal: disk full, no permission.
    """
    _write(folder, _blocks(examples), vocabulary)


def join_stores(folder: Path, parts: Iterable[Path], *, vocabulary: int) -> None:
    """Writes the examples of several stores, in their order, as one: the bytes that `write_store` would have written.

    Raises:
        DamagedArtifact: a part is not whole.
        SystemRefusal: disk full, no permission.
    """
    _write(folder, (block for part in parts for block in open_store(part)._blocks()), vocabulary)


def open_store(folder: Path, *, verify: bool = False) -> Store:
    """Maps a store; the sizes of its files are held against its header, with `verify` their hashes too.

    Raises:
        DamagedArtifact: no header, or files that are not what it says.
    """
    try:
        header = json.loads((folder / HEADER).read_text("utf-8"))
        version, files = header["format_version"], header["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedArtifact(f"its {HEADER} cannot be read: {error}", place=str(folder), hint=_REBUILD) from error
    if version != FORMAT_VERSION:
        found = f"it has format {version}, this setsail reads {FORMAT_VERSION}"
        raise DamagedArtifact(found, place=str(folder), hint=_REBUILD)
    for name in FILES:
        file, entry = folder / name, files[name]
        # A file that is shorter than what is mapped of it would kill the process that reads there.
        if not file.is_file() or file.stat().st_size != entry["bytes"]:
            raise DamagedArtifact(f'"{name}" is missing or cut short', place=str(folder), hint=_REBUILD)
        if verify and sha256_of(file) != entry["sha256"]:
            raise DamagedArtifact(f'"{name}" was changed or damaged', place=str(folder), hint=_REBUILD)
    return Store(folder, header)


_REBUILD = "delete this folder and type the same command again: it will be rebuilt"


class Store(Sequence[Example]):
    """The examples of a store, each built when it is asked for; pages of its files come and go as memory allows."""

    def __init__(self, folder: Path, header: dict[str, Any]) -> None:
        self.vocabulary: int = header["vocabulary"]
        self.num_tokens: int = header["num_tokens"]
        self._ids = _mapped(folder / IDS, _ids_dtype(self.vocabulary))
        self._mask = _mapped(folder / LOSS_MASK, np.dtype(np.uint8))
        self._documents = _mapped(folder / DOCUMENTS, DOCUMENT)
        self._row_ids = _mapped(folder / ROW_IDS, np.dtype(np.uint8))
        self._labels = _mapped(folder / LABELS, np.dtype(np.uint8))

    @property
    def lengths(self) -> npt.NDArray[np.int32]:
        """The tokens of each example, in memory."""
        return np.diff(self._documents["end"], prepend=0).astype(np.int32)

    @property
    def num_supervised(self) -> npt.NDArray[np.int32]:
        """The tokens of each example that give a loss, on the disk."""
        return self._documents["num_supervised"]

    def __len__(self) -> int:
        return len(self._documents)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        numbers = range(len(self))[index]  # raises IndexError, and knows what -1 is
        return self._example(numbers) if isinstance(numbers, int) else [self._example(number) for number in numbers]

    def _example(self, number: int) -> Example:
        start, row_id_start, label_start = self._ends(number)
        end, row_id_end, label_end = self._ends(number + 1)
        return Example(
            self._ids[start:end].astype(np.int32),
            self._bits(start, end),
            self._row_ids[row_id_start:row_id_end].tobytes().decode("utf-8"),
            CHANGES[self._documents["change"][number]],
            self._labels[label_start:label_end].tobytes().decode("utf-8"),
        )

    def _ends(self, number: int) -> tuple[int, int, int]:
        """Where the first `number` examples end, in tokens, in bytes of row ids and in bytes of labels."""
        if number == 0:
            return 0, 0, 0
        document = self._documents[number - 1]
        return int(document["end"]), int(document["row_id_end"]), int(document["label_end"])

    def _bits(self, start: int, end: int) -> npt.NDArray[np.bool_]:
        first = start // 8
        bits = np.unpackbits(self._mask[first : (end + 7) // 8], bitorder="little")
        return bits[start - 8 * first : end - 8 * first].view(np.bool_)

    def _blocks(self) -> Iterator[_Block]:
        first = 0
        while first < len(self):
            starts = start, row_id_start, label_start = self._ends(first)
            full = int(np.searchsorted(self._documents["end"], start + _TOKENS_AT_ONCE))
            last = max(first + 1, full)
            end, row_id_end, label_end = self._ends(last)
            documents = _shifted(self._documents[first:last], [-place for place in starts])
            row_ids = self._row_ids[row_id_start:row_id_end].tobytes()
            labels = self._labels[label_start:label_end].tobytes()
            yield _Block(self._ids[start:end], self._bits(start, end), documents, row_ids, labels)
            first = last


def _mapped(path: Path, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    # As a plain array: slicing numpy's own memmap class costs more than the slice.
    return np.asarray(np.memmap(path, dtype, mode="r")) if path.stat().st_size else np.empty(0, dtype)


def _shifted(documents: npt.NDArray[np.void], places: Sequence[int]) -> npt.NDArray[np.void]:
    """Records of documents that stand so much farther on in their files."""
    shifted = documents.copy()
    for name, place in zip(_ENDS, places, strict=True):
        shifted[name] += place
    return shifted


def _ids_dtype(vocabulary: int) -> np.dtype[Any]:
    return np.dtype("<u2" if vocabulary <= 1 << 16 else "<u4")


def _blocks(examples: Iterable[Example]) -> Iterator[_Block]:
    waiting: list[Example] = []
    num_tokens = 0
    for example in examples:
        waiting.append(example)
        num_tokens += len(example.ids)
        if num_tokens >= _TOKENS_AT_ONCE:
            yield _block(waiting)
            waiting, num_tokens = [], 0
    if waiting:
        yield _block(waiting)


def _block(examples: Sequence[Example]) -> _Block:
    row_ids = [example.row_id.encode("utf-8") for example in examples]
    labels = [example.label.encode("utf-8") for example in examples]
    documents = np.empty(len(examples), DOCUMENT)
    documents["end"] = np.cumsum([len(example.ids) for example in examples])
    documents["row_id_end"] = np.cumsum([len(row_id) for row_id in row_ids])
    documents["label_end"] = np.cumsum([len(label) for label in labels])
    documents["num_supervised"] = [example.num_supervised for example in examples]
    documents["change"] = [CHANGES.index(example.change) for example in examples]
    ids = np.concatenate([example.ids for example in examples])
    loss_mask = np.concatenate([example.loss_mask for example in examples])
    return _Block(ids, loss_mask, documents, b"".join(row_ids), b"".join(labels))


def _write(folder: Path, blocks: Iterable[_Block], vocabulary: int) -> None:
    with explained_os_errors("writing tokens"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / HEADER).unlink(missing_ok=True)
        with ExitStack() as stack:
            files = {name: stack.enter_context(_HashedFile(folder / name)) for name in FILES}
            header = _write_blocks(files, blocks, vocabulary)
        (folder / HEADER).write_text(json.dumps(header, indent=1) + "\n", encoding="utf-8")


def _write_blocks(files: dict[str, _HashedFile], blocks: Iterable[_Block], vocabulary: int) -> dict[str, Any]:
    """Writes all files but the header, which it returns."""
    dtype = _ids_dtype(vocabulary)
    num_tokens = num_row_id_bytes = num_label_bytes = num_examples = 0
    odd_bits = np.empty(0, np.bool_)  # at the end, fewer than fill a byte
    for block in blocks:
        assert block.ids.min() >= 0 and block.ids.max() < vocabulary, "an id is not in the vocabulary"
        files[IDS].write(block.ids.astype(dtype).tobytes())
        bits = np.concatenate([odd_bits, block.loss_mask])
        whole = len(bits) // 8 * 8
        files[LOSS_MASK].write(np.packbits(bits[:whole], bitorder="little").tobytes())
        odd_bits = bits[whole:]
        documents = _shifted(block.documents, (num_tokens, num_row_id_bytes, num_label_bytes))
        files[DOCUMENTS].write(documents.tobytes())
        files[ROW_IDS].write(block.row_ids)
        files[LABELS].write(block.labels)
        num_tokens += len(block.ids)
        num_row_id_bytes += len(block.row_ids)
        num_label_bytes += len(block.labels)
        num_examples += len(documents)
    files[LOSS_MASK].write(np.packbits(odd_bits, bitorder="little").tobytes())
    return {
        "format_version": FORMAT_VERSION,
        "vocabulary": vocabulary,
        "ids": dtype.str,
        "num_examples": num_examples,
        "num_tokens": num_tokens,
        "files": {name: file.entry() for name, file in files.items()},
    }


class _HashedFile:
    """A file that is written from its start and knows its size and its hash."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._hash = hashlib.sha256()
        self._num_bytes = 0

    def __enter__(self) -> _HashedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self._num_bytes += len(data)

    def entry(self) -> dict[str, Any]:
        return {"bytes": self._num_bytes, "sha256": self._hash.hexdigest()}
