"""Writing one safetensors file tensor by tensor, so that a model larger than memory can be converted.

What is read is judged in weights.py. The invariant: the header is complete before the first tensor, and every tensor
has its size.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import torch

from setsail.base.errors import ModelError
from setsail.base.log import Log
from setsail.models.weights import read_header, weight_files

FLOATS = ("F64", "F32", "F16", "BF16")
CODES = {
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
DTYPES = {code: dtype for dtype, code in CODES.items()}


def target_dtype(code: str) -> torch.dtype:
    """bfloat16 for every kind of float, integers as they are.

    Raises: ModelError for kinds that a plain model does not have.
    """
    if code not in FLOATS and code not in DTYPES:
        raise ModelError(f"a tensor is of kind {code}", hint="use the model in bf16 or float32")
    return torch.bfloat16 if code in FLOATS else DTYPES[code]


def layout_of(folder: Path) -> dict[str, tuple[Path, list[int], str]]:
    """Every tensor of a model folder: name → (file, shape, kind of number)."""
    layout: dict[str, tuple[Path, list[int], str]] = {}
    for file in weight_files(folder):
        for name, info in read_header(file).items():
            if name != "__metadata__":
                layout[name] = (file, info["shape"], info["dtype"])
    return layout


def write_safetensors(
    path: Path,
    layout: dict[str, tuple[list[int], torch.dtype]],
    tensor: Callable[[str], torch.Tensor],
    *,
    log: Log,
) -> None:
    """Write `layout` (name → shape and dtype), asking `tensor` for one after the other; floats round to nearest."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    place = 0
    for name, (shape, dtype) in layout.items():
        end = place + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": CODES[dtype], "shape": list(shape), "data_offsets": [place, end]}
        place = end
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    with path.open("wb") as file, log.progress("weights", len(layout)) as progress:
        file.write(len(raw).to_bytes(8, "little") + raw)
        for name, (shape, dtype) in layout.items():
            value = tensor(name).to(dtype).contiguous()
            assert list(value.shape) == list(shape), (name, value.shape, shape)
            file.write(value.view(-1).view(torch.uint8).numpy().data)
            progress.advance()
