from __future__ import annotations

from pathlib import Path

import pytest
import torch
from models import toy_model
from safetensors.torch import load_file

from setsail.base.errors import ModelError
from setsail.base.log import Log
from setsail.base.recipe import Lora
from setsail.compress.merge import merge
from setsail.models.load import import_base, load_model
from setsail.models.lora import add_lora, load_adapter, lora_modules, merge_lora, save_adapter
from setsail.models.weights import weights_sha256

QUIET = Log(quiet=True)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    import_base(str(toy_model.write_folder(tmp_path / "source")), tmp_path / "base", QUIET)
    return tmp_path / "base"


def adapter_for(base: Path, folder: Path) -> Path:
    model = load_model(base, dtype=torch.bfloat16)
    add_lora(model, Lora(rank=4, alpha=8.0), seed=1)
    generator = torch.Generator().manual_seed(2)
    for _, module in lora_modules(model):
        module.lora_b.data = torch.randn(module.lora_b.shape, generator=generator) * 0.05
    save_adapter(model, folder, base_name="toy", base_sha256=weights_sha256(base))
    return folder


def test_a_merged_folder_equals_the_merged_model_bit_for_bit(base: Path, tmp_path: Path) -> None:
    adapter = adapter_for(base, tmp_path / "adapter")
    merge(base, adapter, tmp_path / "merged", log=QUIET)
    model = load_model(base, dtype=torch.bfloat16)
    load_adapter(model, adapter, base_sha256=weights_sha256(base))
    merge_lora(model)
    merged, before = load_file(tmp_path / "merged" / "model.safetensors"), load_file(base / "model.safetensors")
    state = model.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in merged.items())
    changed = {name for name in merged if not torch.equal(merged[name], before[name])}
    assert len(changed) == 2 * 7 and all("proj" in name for name in changed)


def test_everything_but_the_weights_is_the_bases(base: Path, tmp_path: Path) -> None:
    (base / "manifest.json").write_text("{}")
    merge(base, adapter_for(base, tmp_path / "adapter"), tmp_path / "merged", log=QUIET)
    names = {file.name for file in (tmp_path / "merged").iterdir()}
    assert names == {file.name for file in base.iterdir()} - {"manifest.json"}
    for name in names - {"model.safetensors"}:
        assert (tmp_path / "merged" / name).read_bytes() == (base / name).read_bytes()


def test_an_adapter_of_another_base_is_refused_and_nothing_is_written(base: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    import_base(str(toy_model.write_folder(tmp_path / "other source", seed=9)), other, QUIET)
    with pytest.raises(ModelError, match="another base"):
        merge(base, adapter_for(other, tmp_path / "adapter"), tmp_path / "merged", log=QUIET)
    assert not (tmp_path / "merged").exists()


def test_an_adapter_without_a_fingerprint_is_held_against_the_shapes(base: Path, tmp_path: Path) -> None:
    wide = tmp_path / "wide"
    import_base(str(toy_model.write_folder(tmp_path / "wide source", intermediate_size=128)), wide, QUIET)
    adapter = adapter_for(wide, tmp_path / "adapter")
    model = load_model(wide, dtype=torch.float32)
    load_adapter(model, adapter)
    save_adapter(model, adapter, base_name="toy", base_sha256="")
    with pytest.raises(ModelError, match="another base"):
        merge(base, adapter, tmp_path / "merged", log=QUIET)
