from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from models import toy_model
from setsail.base.errors import ModelError
from setsail.models.weights import read_header, weight_files, weights_sha256


def with_header(file: Path, header: object, num_bytes: int) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    file.write_bytes(len(raw).to_bytes(8, "little") + raw + bytes(num_bytes))
    return file


def with_bytes(file: Path, content: bytes) -> Path:
    file.write_bytes(content)
    return file


def entry(start: int, end: int, shape: list[int] | None = None, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape or [(end - start) // 4], "data_offsets": [start, end]}


def test_a_sound_header_is_read(tmp_path: Path) -> None:
    save_file({"a": np.zeros((2, 3), np.float32), "b": np.ones(4, np.int8)}, tmp_path / "x.safetensors")
    header = read_header(tmp_path / "x.safetensors")
    assert header["a"]["shape"] == [2, 3] and header["b"]["dtype"] == "I8"


FAULTS: dict[str, Callable[[Path], Path]] = {
    "empty": lambda file: with_bytes(file, b""),
    "header length 2^63": lambda file: with_bytes(file, (2**63).to_bytes(8, "little") + b"{}"),
    "not json": lambda file: with_header(file, b"{{{{", 4),
    "deep json": lambda file: with_header(file, b"[" * 200_000, 4),
    "a list": lambda file: with_header(file, [1], 4),
    "overlap": lambda file: with_header(file, {"a": entry(0, 8), "b": entry(4, 12)}, 12),
    "gap": lambda file: with_header(file, {"a": entry(0, 8), "b": entry(12, 20)}, 20),
    "beyond the end": lambda file: with_header(file, {"a": entry(0, 4096)}, 16),
    "bytes left over": lambda file: with_header(file, {"a": entry(0, 8)}, 16),
    "shape and size differ": lambda file: with_header(file, {"a": entry(0, 8, [3])}, 8),
    "negative": lambda file: with_header(file, {"a": entry(0, 8, [-1, -2])}, 8),
    "backwards": lambda file: with_header(file, {"a": entry(8, 0)}, 8),
    "unknown kind": lambda file: with_header(file, {"a": entry(0, 8, dtype="X9")}, 8),
    "no offsets": lambda file: with_header(file, {"a": {"dtype": "F32", "shape": [2]}}, 8),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_header_that_lies_is_refused(tmp_path: Path, fault: Callable[[Path], Path]) -> None:
    with pytest.raises(ModelError, match="damaged or cut short"):
        read_header(fault(tmp_path / "x.safetensors"))


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    save_file({"a": np.zeros((8, 8), np.float32)}, tmp_path / "x.safetensors")
    whole = (tmp_path / "x.safetensors").read_bytes()
    for length in range(0, len(whole), 13):
        (tmp_path / "x.safetensors").write_bytes(whole[:length])
        with pytest.raises(ModelError):
            read_header(tmp_path / "x.safetensors")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth", "last.ckpt"])
def test_pickles_are_refused_with_the_way_out(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04.")
    with pytest.raises(ModelError, match="pickle") as caught:
        weight_files(tmp_path)
    assert "safe_serialization" in str(caught.value.hint)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no model\.safetensors"):
        weight_files(tmp_path)


def test_shards_are_found_and_a_missing_one_is_named(tmp_path: Path) -> None:
    folder = toy_model.write_folder(tmp_path, shard="50KB")
    files = weight_files(folder)
    assert len(files) > 2
    files[1].unlink()
    with pytest.raises(ModelError, match="missing") as caught:
        weight_files(folder)
    assert files[1].name in str(caught.value.place)


@pytest.mark.parametrize("shard", ["../secret.safetensors", "/etc/passwd", "pytorch_model-1.bin"])
def test_an_index_that_leads_elsewhere_is_refused(tmp_path: Path, shard: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": shard}}))
    with pytest.raises(ModelError, match="index names"):
        weight_files(tmp_path)


def test_the_sha256_follows_every_weight(tmp_path: Path) -> None:
    folder = toy_model.write_folder(tmp_path, shard="50KB")
    before = weights_sha256(folder)
    last = weight_files(folder)[-1]
    content = bytearray(last.read_bytes())
    content[-1] ^= 1
    last.write_bytes(content)
    assert weights_sha256(folder) != before
