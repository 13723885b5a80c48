"""Weight files judged before anything loads them: safetensors headers, shards, and the refusal of pickle.

No tensor is read here and torch is not needed. The invariant: a folder that passes `weight_files` holds only
safetensors whose headers describe exactly the bytes that are there, and no code.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from setsail.base.errors import ModelError
from setsail.base.files import sha256_of

# What a model folder holds beside its weights.
SIDE_FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
LARGEST_HEADER_BYTES = 100_000_000
BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}
CONVERT_HINT = (
    "convert it where you trust it: model = AutoModelForCausalLM.from_pretrained(FOLDER); "
    "model.save_pretrained(NEW, safe_serialization=True); then use NEW"
)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder, single or sharded, their headers verified.

    Raises: ModelError for pickle weights, missing shards, and files that are damaged or not what they claim.
    """
    index = folder / "model.safetensors.index.json"
    shards = [folder / name for name in _shard_names(index)] if index.is_file() else []
    files = shards or sorted(folder.glob("*.safetensors"))
    if not files:
        _refuse_pickle(folder)
        raise ModelError("no model.safetensors in this folder", place=str(folder))
    for file in files:
        read_header(file)
    return files


def read_header(file: Path) -> dict[str, Any]:
    """The verified header of a safetensors file: name → {dtype, shape, data_offsets}, and `__metadata__` if any.

    Raises: ModelError when the length, an offset or a size does not agree with the file.
    """
    if not file.is_file():
        raise ModelError("weight file is missing", place=str(file), hint="copy or download the whole model folder")
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > min(size - 8, LARGEST_HEADER_BYTES):
            raise _damaged(file, f"its header claims {length} bytes, the file has {size}")
        raw = stream.read(length)
    try:
        header = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _damaged(file, "its header is not JSON") from error
    if not isinstance(header, dict):
        raise _damaged(file, "its header is not a table of tensors")
    _check_spans(file, {name: info for name, info in header.items() if name != "__metadata__"}, size - 8 - length)
    return header


def weights_sha256(folder: Path) -> str:
    """One sha256 for all weights of a folder: what an adapter remembers of its base."""
    files = weight_files(folder)
    if len(files) == 1:
        return sha256_of(files[0])
    return hashlib.sha256("".join(sha256_of(file) for file in files).encode()).hexdigest()


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object from a model folder.

    Raises: ModelError when it is missing or not an object.
    """
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{file.name} is missing", place=str(file.parent)) from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{file.name} is not valid JSON", place=str(file)) from error
    if not isinstance(value, dict):
        raise ModelError(f"{file.name} is not a JSON object", place=str(file))
    return value


def _shard_names(index: Path) -> list[str]:
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise ModelError("the shard index has no weight_map", place=str(index))
    shards = sorted({str(name) for name in names.values()})
    for name in shards:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise ModelError(f'the shard index names "{name}"', place=str(index), hint=CONVERT_HINT)
    return shards


def _refuse_pickle(folder: Path) -> None:
    found = sorted(file.name for file in folder.iterdir() if file.suffix.lower() in PICKLE_SUFFIXES)
    if found:
        raise ModelError(
            f'"{found[0]}" is a pickle: loading it can run any program', place=str(folder), hint=CONVERT_HINT
        )


def _check_spans(file: Path, tensors: dict[str, Any], num_bytes: int) -> None:
    """Spans must follow each other without gap or overlap to the end of the file, each as long as its shape says."""
    try:
        spans = sorted((*_span(info), name) for name, info in tensors.items())
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(file, "its header has an entry that is no tensor") from error
    place = 0
    for start, end, expected, name in spans:
        if start != place or end - start != expected:
            raise _damaged(file, f'tensor "{name}" says bytes {start} to {end}, expected {place} to {place + expected}')
        place = end
    if place != num_bytes:
        raise _damaged(file, f"tensors take {place} bytes, the file holds {num_bytes}")


def _span(info: dict[str, Any]) -> tuple[int, int, int]:
    start, end = (int(offset) for offset in info["data_offsets"])
    shape = [int(size) for size in info["shape"]]
    if min(shape, default=0) < 0:
        raise ValueError(shape)
    return start, end, math.prod(shape) * BITS[info["dtype"]] // 8


def _damaged(file: Path, what: str) -> ModelError:
    return ModelError(
        f"{file.name} is damaged or cut short: {what}", place=str(file), hint="copy or download the file again"
    )
