"""A fused model is its original: same names, same outputs, same gradients, adapted or not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from models import toy_model
from models.test_attention import packed
from setsail.base.recipe import Lora
from setsail.models.fused import Projection, fuse, unfuse
from setsail.models.kernels.library import have_compiler
from setsail.models.lora import LoraLinear, add_lora, lora_parameters

pytestmark = pytest.mark.skipif(not have_compiler(), reason="no C++ compiler here")

BIASED = {"attention_bias": True, "mlp_bias": True}


def adapted(model: PreTrainedModel) -> PreTrainedModel:
    add_lora(model, Lora(rank=4, alpha=6.0), seed=1)
    generator = torch.Generator().manual_seed(2)
    for parameter in lora_parameters(model):
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model


def loss(model: PreTrainedModel) -> torch.Tensor:
    states = model.model(**packed((5, 40, 7, 1, 33)), use_cache=False).last_hidden_state
    return (states.float() * torch.linspace(-1, 1, states.shape[-1])).square().sum()


def gradients(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss(model).backward()
    return {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("changes", [{}, BIASED], ids=["no bias", "biases"])
def test_loss_and_every_gradient_are_those_of_the_original(changes: dict, method: str) -> None:
    model = toy_model.model("llama", **changes)
    model.requires_grad_(True)
    if method == "lora":
        adapted(model)
    expected, nats = gradients(model), loss(model)
    assert len(fuse(model)) == 9  # in each of two layers two norms, attention and MLP; one norm at the end
    torch.testing.assert_close(loss(model), nats, rtol=1e-5, atol=0)
    found = gradients(model)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert (found[name] - gradient).norm() <= 1e-4 * gradient.norm(), name


def test_in_bf16_it_is_as_near_to_float32_as_the_original() -> None:
    exact = gradients(toy_model.model("llama").requires_grad_(True))
    plain = gradients(toy_model.model("llama", dtype=torch.bfloat16).requires_grad_(True))
    model = toy_model.model("llama", dtype=torch.bfloat16).requires_grad_(True)
    fuse(model)
    fused = gradients(model)

    def distance(found: dict[str, torch.Tensor]) -> float:
        return float(sum((found[name].float() - right).norm() / right.norm() for name, right in exact.items()))

    assert distance(fused) <= 1.1 * distance(plain)


def test_names_files_and_weights_are_as_before(tmp_path: Path) -> None:
    model = toy_model.model("llama")
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    fuse(model)
    assert list(model.state_dict()) == list(before)
    unfuse(model)
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    for name, weight in again.state_dict().items():
        assert torch.equal(weight, before[name])
    storages = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    assert len(storages) == len(list(model.parameters()))
    assert not any("forward" in module.__dict__ for module in model.modules())


def test_a_cache_and_a_padded_batch_go_to_the_original() -> None:
    model = toy_model.model("llama")
    ids = torch.arange(3, 15)[None]
    mask = torch.ones_like(ids)
    mask[0, :4] = 0
    expected = model(ids, attention_mask=mask).logits, model.generate(ids, max_new_tokens=8, do_sample=False)
    fuse(model)
    torch.testing.assert_close(model(ids, attention_mask=mask).logits, expected[0], rtol=1e-4, atol=1e-5)
    assert torch.equal(model.generate(ids, max_new_tokens=8, do_sample=False), expected[1])


def test_a_sliding_window_is_kept() -> None:
    model = toy_model.model("mistral", sliding_window=6)
    expected = loss(model)
    assert any(name.endswith("self_attn") for name in fuse(model))
    torch.testing.assert_close(loss(model), expected, rtol=1e-5, atol=0)


def test_attention_that_norms_its_queries_is_left_as_it_is() -> None:
    model = toy_model.model("qwen3")
    expected = loss(model)
    fused = fuse(model)
    assert fused and not any(name.endswith("self_attn") for name in fused)
    torch.testing.assert_close(loss(model), expected, rtol=1e-5, atol=0)


class ShiftedRMSNorm(nn.Module):
    """Looks like any RMSNorm and computes something else, as Gemma's does."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.rand(64)), 1e-5

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * (x.square().mean(-1, keepdim=True) + self.eps).rsqrt() * (1 + self.weight)


def test_a_module_that_only_looks_familiar_is_left_alone() -> None:
    model = toy_model.model("llama")
    model.model.norm = ShiftedRMSNorm()
    assert "model.norm" not in fuse(model)


def test_weights_that_somebody_replaced_are_not_forgotten() -> None:
    layers = [nn.Linear(8, 4, bias=False), LoraLinear(nn.Linear(8, 6), rank=2, scale=2.0)]
    layers[1].lora_b.data.normal_()
    layers[1].lora_a.data.normal_()
    projection, inputs = Projection(layers), torch.randn(5, 8)

    def expected() -> torch.Tensor:
        return torch.cat([layer(inputs) for layer in layers], dim=1)

    torch.testing.assert_close(projection(inputs), expected())
    layers[0].weight.data = torch.randn(4, 8)
    torch.testing.assert_close(projection(inputs), expected())
    layers[0].weight.data.mul_(2)
    torch.testing.assert_close(projection(inputs), expected())
