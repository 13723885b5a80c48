"""The safetensors files that we write are read by the library as they were given."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from setsail.base.errors import ArtifactError
from setsail.models.tensor_file import read_tensors, write_tensors

TENSORS = {
    "matrix": torch.randn(3, 5),
    "half": torch.randn(7).bfloat16(),
    "transposed": torch.randn(4, 2).t(),
    "scalar": torch.tensor(3.0),
    "empty": torch.zeros(0, 4),
    "nan": torch.tensor([float("nan"), float("inf")], dtype=torch.float64),
    "exp_avg:model.layers.0.weight": torch.arange(6),
}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype and torch.equal(left[name].nan_to_num(7), right[name].nan_to_num(7))
        for name in left
    )


def test_the_library_reads_what_we_write(tmp_path: Path) -> None:
    digest = write_tensors(tmp_path / "a.safetensors", TENSORS)
    assert digest == hashlib.sha256((tmp_path / "a.safetensors").read_bytes()).hexdigest()
    assert same(load_file(tmp_path / "a.safetensors"), TENSORS)
    assert same(read_tensors(tmp_path / "a.safetensors"), TENSORS)


def test_equal_tensors_and_metadata_are_equal_files(tmp_path: Path) -> None:
    metadata = {f"key{number}": f"value{number}" for number in range(12)}  # the library would shuffle them
    digests = {write_tensors(tmp_path / f"{name}.safetensors", TENSORS, metadata=metadata) for name in "ab"}
    assert len(digests) == 1
    with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        assert file.metadata() == metadata
    text = (tmp_path / "a.safetensors").read_bytes()
    places = [text.index(f'"{key}"'.encode()) for key in metadata]
    assert places == sorted(places)


def test_we_read_what_the_library_writes(tmp_path: Path) -> None:
    contiguous = {name: tensor.contiguous() for name, tensor in TENSORS.items()}
    save_file(contiguous, tmp_path / "a.safetensors")
    assert same(read_tensors(tmp_path / "a.safetensors"), TENSORS)


@pytest.mark.parametrize("keep", [0, 4, 8, 60, -1])
def test_a_torn_file_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a.safetensors"
    write_tensors(path, TENSORS)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ArtifactError, match="not a whole safetensors file"):
        read_tensors(path)
