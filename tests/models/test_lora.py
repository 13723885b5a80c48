from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from models import toy_model
from setsail.base.errors import ModelError
from setsail.base.log import Log
from setsail.base.recipe import Lora
from setsail.models.load import import_base, load_model
from setsail.models.lora import (
    LoraLinear,
    add_lora,
    load_adapter,
    lora_modules,
    lora_parameters,
    merge_lora,
    save_adapter,
)
from setsail.models.weights import weights_sha256

LORA = Lora(rank=4, alpha=8.0)
IDS = torch.arange(3, 43).reshape(2, 20)


def tuned(model: PreTrainedModel, lora: Lora = LORA) -> PreTrainedModel:
    """The model with an adapter whose B is not zero any more."""
    add_lora(model, lora, seed=5)
    generator = torch.Generator().manual_seed(6)
    for _, module in lora_modules(model):
        module.lora_b.data = torch.randn(module.lora_b.shape, generator=generator) * 0.05
    return model


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits.float()


def save(model: PreTrainedModel, folder: Path, sha256: str = "a" * 64) -> Path:
    save_adapter(model, folder, base_name="toy", base_sha256=sha256)
    return folder


def test_a_fresh_adapter_changes_nothing_and_freezes_the_rest() -> None:
    model = toy_model.model()
    before = logits(model)
    add_lora(model, LORA, seed=1)
    assert torch.equal(logits(model), before)
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert len(trainable) == len(lora_parameters(model)) == 2 * 7 * 2
    assert all(name.endswith(("lora_a", "lora_b")) for name in trainable)


def test_the_seed_decides_the_start() -> None:
    def first(seed: int) -> torch.Tensor:
        model = toy_model.model()
        add_lora(model, LORA, seed=seed)
        return torch.cat([parameter.detach().flatten() for parameter in lora_parameters(model)])

    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))


def test_the_start_does_not_draw_from_the_global_generator() -> None:
    model = toy_model.model()
    torch.manual_seed(9)
    expected = torch.rand(1)
    torch.manual_seed(9)
    add_lora(model, LORA, seed=1)
    assert torch.equal(torch.rand(1), expected)


def test_adapters_are_float32_on_bf16_weights_and_gradients_reach_them() -> None:
    model = tuned(toy_model.model(dtype=torch.bfloat16))
    output = model(input_ids=IDS).logits
    assert output.dtype == torch.bfloat16
    output.float().square().mean().backward()
    for parameter in lora_parameters(model):
        assert parameter.dtype == torch.float32
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0


def test_unknown_targets_name_what_there_is() -> None:
    with pytest.raises(ModelError, match="q_prj") as caught:
        add_lora(toy_model.model(), Lora(targets=("q_prj",)), seed=1)
    assert "down_proj" in caught.value.message and 'did you mean "q_proj"' in str(caught.value.hint)


def test_peft_computes_the_same_from_our_adapter(tmp_path: Path) -> None:
    ours = tuned(toy_model.model())
    folder = save(ours, tmp_path / "adapter")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        theirs = PeftModel.from_pretrained(toy_model.model(), folder)
    assert not [str(warning.message) for warning in caught if "lora" in str(warning.message).lower()]
    torch.testing.assert_close(logits(theirs), logits(ours), atol=1e-5, rtol=1e-5)


# PEFT asks transformers by a name that transformers will drop.
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")
def test_we_compute_the_same_from_pefts_adapter(tmp_path: Path) -> None:
    settings = LoraConfig(r=4, lora_alpha=12, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM")
    theirs = get_peft_model(toy_model.model(), settings)
    generator = torch.Generator().manual_seed(7)
    for name, parameter in theirs.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.05
    theirs.save_pretrained(tmp_path)
    ours = toy_model.model()
    load_adapter(ours, tmp_path, base_sha256="b" * 64)
    torch.testing.assert_close(logits(ours), logits(theirs.eval()), atol=1e-5, rtol=1e-5)


def test_saved_and_loaded_is_the_same_adapter(tmp_path: Path) -> None:
    model = tuned(toy_model.model())
    again = toy_model.model()
    load_adapter(again, save(model, tmp_path), base_sha256="a" * 64)
    assert torch.equal(logits(again), logits(model))
    assert (tmp_path / "adapter_model.safetensors").stat().st_mode & 0o777 == 0o644


def test_merging_equals_the_adapter() -> None:
    model = tuned(toy_model.model())
    before = logits(model)
    merge_lora(model)
    assert not list(lora_modules(model))
    torch.testing.assert_close(logits(model), before, atol=1e-5, rtol=1e-5)


def test_merging_into_bf16_rounds_once() -> None:
    model = tuned(toy_model.model(dtype=torch.bfloat16))
    name, module = next(iter(lora_modules(model)))
    exact = module.base.weight.float() + module.scale * module.lora_b.detach() @ module.lora_a.detach()
    merge_lora(model)
    assert torch.equal(model.get_submodule(name).weight, exact.to(torch.bfloat16))


def test_an_adapter_of_other_weights_is_refused(tmp_path: Path) -> None:
    folder = save(tuned(toy_model.model()), tmp_path, sha256="a" * 64)
    with pytest.raises(ModelError, match="another base") as caught:
        load_adapter(toy_model.model(), folder, base_sha256="c" * 64)
    assert '"toy"' in str(caught.value.hint)


@pytest.mark.parametrize("changes", [{"hidden_size": 128}, {"num_hidden_layers": 1}])
def test_an_adapter_of_another_shape_is_refused_and_the_model_is_left_alone(tmp_path: Path, changes: dict) -> None:
    folder = save(tuned(toy_model.model()), tmp_path)
    other = toy_model.model(**changes)
    with pytest.raises(ModelError, match="another base"):
        load_adapter(other, folder)
    assert not any(isinstance(module, LoraLinear) for module in other.modules())


@pytest.mark.parametrize(
    ("key", "value"),
    [("use_dora", True), ("bias", "all"), ("rank_pattern", {"q_proj": 2}), ("peft_type", "IA3"), ("r", 0)],
)
def test_settings_beyond_plain_lora_are_refused(tmp_path: Path, key: str, value: object) -> None:
    folder = save(tuned(toy_model.model()), tmp_path)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, key: value}))
    with pytest.raises(ModelError, match=key if key != "r" else "positive"):
        load_adapter(toy_model.model(), folder)


def test_damage_and_pickle_are_refused(tmp_path: Path) -> None:
    folder = save(tuned(toy_model.model()), tmp_path)
    weights = folder / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-10])
    with pytest.raises(ModelError, match="damaged or cut short"):
        load_adapter(toy_model.model(), folder)
    weights.unlink()
    (folder / "adapter_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(ModelError, match="pickle"):
        load_adapter(toy_model.model(), folder)


def test_an_adapter_with_half_a_pair_is_refused(tmp_path: Path) -> None:
    folder = save(tuned(toy_model.model()), tmp_path)
    tensors = load_file(folder / "adapter_model.safetensors")
    tensors.pop(next(name for name in tensors if "lora_B" in name))
    save_file(tensors, folder / "adapter_model.safetensors")
    with pytest.raises(ModelError, match="lacks tensors"):
        load_adapter(toy_model.model(), folder)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")
def test_peft_computes_the_same_on_the_packaged_base(tmp_path: Path) -> None:
    import_base("smollm2-135m-instruct", tmp_path / "base", Log(quiet=True))
    ours = tuned(load_model(tmp_path / "base", dtype=torch.float32), Lora(rank=8, alpha=8.0))
    folder = save(ours, tmp_path / "adapter", weights_sha256(tmp_path / "base"))
    theirs = PeftModel.from_pretrained(load_model(tmp_path / "base", dtype=torch.float32), folder)
    a, b = logits(theirs), logits(ours)
    assert (a - b).norm() / b.norm() < 1e-4, (a - b).norm() / b.norm()
