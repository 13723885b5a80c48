"""An adapter added into its base: an ordinary HF folder that needs no adapter any more.

Tensors stream through memory one by one. The invariant: the sum is made in float32 and rounded to bf16 once, exactly as
`merge_lora` does on a loaded model.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from safetensors import safe_open

from setsail.base.log import Log
from setsail.models.load import read_config
from setsail.models.lora import check_base, other_base, read_deltas
from setsail.models.safetensors_file import layout_of, target_dtype, write_safetensors
from setsail.models.weights import SIDE_FILES, weights_sha256


def merge(base: Path, adapter: Path, out: Path, *, log: Log) -> Path:
    """Write base + adapter as an HF folder at `out`; everything but the weights is copied from the base.

    Raises: ModelError for an adapter of another base, by its sha256, or else by names and shapes.
    """
    read_config(base)
    check_base(adapter, weights_sha256(base))
    sources = layout_of(base)
    deltas = {f"{name}.weight": delta for name, delta in read_deltas(adapter).items()}
    for name, delta in deltas.items():
        if name not in sources or list(delta.shape) != sources[name][1]:
            raise other_base(adapter, f'"{base}" has no tensor "{name}" of shape {delta.shape}')

    def tensor(name: str) -> torch.Tensor:
        with safe_open(sources[name][0], framework="pt") as file:
            weight = file.get_tensor(name)
        return weight.float() + deltas[name].value() if name in deltas else weight

    out.mkdir(parents=True, exist_ok=True)
    for name in SIDE_FILES:
        if (base / name).is_file():
            shutil.copyfile(base / name, out / name)
    layout = {name: (shape, target_dtype(code)) for name, (_, shape, code) in sources.items()}
    write_safetensors(out / "model.safetensors", layout, tensor, log=log)
    return out
