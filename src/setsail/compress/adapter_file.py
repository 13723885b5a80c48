"""A LoRA adapter as a GGUF file that llama.cpp puts on its base, and the proof that nothing was lost on the way.

Both factors are stored in float32, as they were trained; rows of B stand in the order of their base's rows. Written in
the format of llama.cpp's `convert_lora_to_gguf.py`.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from gguf import GGUFWriter

from setsail.base.errors import ModelError
from setsail.base.files import flush_file
from setsail.models import gguf_file
from setsail.models.gguf_model import ARCHITECTURES, gguf_name, permuted_heads, to_neighbours
from setsail.models.load import read_config
from setsail.models.lora import check_base, read_deltas
from setsail.models.weights import weights_sha256


def export_adapter(base: Path, adapter: Path, out: Path, *, name: str) -> Path:
    """Writes the adapter folder as the GGUF file `out`, for the GGUF file of the folder `base`.

    Raises: ModelError for an adapter of another base, or of an architecture that cannot be written as GGUF.
    """
    config = read_config(base)
    architecture = str(config.model_type)
    if architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ModelError(
            f'an adapter of "{architecture}" cannot be written as GGUF; supported: {known}',
            place=str(base / "config.json"),
            hint="export it merged: leave export.adapter out",
        )
    tensors, alpha = _tensors(base, adapter)
    beside = out.with_name(f".{out.name}.partial")
    writer = GGUFWriter(beside, architecture)
    writer.add_type("adapter")
    writer.add_name(name)
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alpha)
    for tensor, value in tensors.items():
        writer.add_tensor(tensor, value)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.flush()
        flush_file(beside)
        os.replace(beside, out)
    finally:
        writer.close()
        beside.unlink(missing_ok=True)
    return out


def changed_tensors(base: Path, adapter: Path, path: Path) -> list[str]:
    """Names of what is missing in the file, too much, or not bit for bit what was trained; empty is the proof."""
    tensors, alpha = _tensors(base, adapter)
    stored = gguf_file.read(path)
    wrong = set(stored.tensors) ^ set(tensors)
    for name in stored.tensors.keys() & tensors.keys():
        if not np.array_equal(stored.dequantised(name), tensors[name]):
            wrong.add(name)
    if np.float32(stored.metadata.get("adapter.lora.alpha", 0.0)) != np.float32(alpha):
        wrong.add("adapter.lora.alpha")
    return sorted(wrong)


def _tensors(base: Path, adapter: Path) -> tuple[dict[str, np.ndarray], float]:
    """Both factors of each adapted weight under their names in GGUF, and alpha, which is scale times rank."""
    config = read_config(base)
    check_base(adapter, weights_sha256(base))
    architecture, num_layers = str(config.model_type), config.num_hidden_layers
    tensors: dict[str, np.ndarray] = {}
    alpha = 0.0
    for layer, delta in read_deltas(adapter).items():
        source = f"{layer}.weight"
        name = gguf_name(architecture, num_layers, source)
        heads = permuted_heads(architecture, config, source)
        up = delta.up.float()
        up = to_neighbours(up, heads) if heads else up
        tensors[f"{name}.lora_a"] = _array(delta.down)
        tensors[f"{name}.lora_b"] = _array(up)
        alpha = delta.scale * len(delta.down)
    return tensors, alpha


def _array(weight: torch.Tensor) -> np.ndarray:
    return weight.float().contiguous().numpy()
