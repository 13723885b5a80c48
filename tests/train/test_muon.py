"""Muon makes every direction of a matrix's step equally long, and leaves the other weights to AdamW."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from toy_training import toy_model

from setsail.base.recipe import Lora
from setsail.models.lora import add_lora
from setsail.train.muon import Muon, block_matrices, orthogonalized
from setsail.train.optimizer import build_optimizer

DTYPES = [torch.float32, torch.bfloat16]


def drawn(rows: int, columns: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def with_singular_values(values: Tensor, rows: int, columns: int) -> Tensor:
    left, right = (torch.linalg.qr(drawn(size, len(values), seed=size))[0] for size in (rows, columns))
    return left @ torch.diag(values) @ right.mT


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    rows=st.integers(1, 24),
    columns=st.integers(1, 24),
    scale=st.sampled_from([1e-11, 1e-4, 1.0, 1e4, 1e15]),
    spread=st.floats(1.0, 50.0),
)
def test_singular_values_come_near_one_and_vectors_stay(
    dtype: torch.dtype, rows: int, columns: int, scale: float, spread: float
) -> None:
    values = torch.logspace(0, -math.log10(spread), min(rows, columns))
    matrix = with_singular_values(values * scale, rows, columns)
    result = orthogonalized(matrix, dtype)
    assert result.dtype == dtype and result.shape == matrix.shape
    found = torch.linalg.svdvals(result.float())
    assert found.min() > 0.65 and found.max() < 1.25
    inner = (matrix / scale).mT @ result.float()  # V S' Vᵀ: symmetric and positive where no vector was turned
    assert (inner - inner.mT).abs().max() < 0.05
    assert torch.linalg.eigvalsh((inner + inner.mT) / 2).min() > -0.05


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_orthogonal_matrix_keeps_its_direction(dtype: torch.dtype) -> None:
    matrix = torch.linalg.qr(drawn(16, 16))[0]
    result = orthogonalized(matrix, dtype).float()
    torch.testing.assert_close(result / result.norm(), matrix / matrix.norm(), rtol=0, atol=0.01)
    assert torch.linalg.svdvals(result).sub(1).abs().max() < 0.35


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_zero_stays_zero(dtype: torch.dtype) -> None:
    assert torch.equal(orthogonalized(torch.zeros(4, 6), dtype), torch.zeros(4, 6, dtype=dtype))
    rank_two = with_singular_values(torch.tensor([3.0, 1.0]), 8, 12)
    found = torch.linalg.svdvals(orthogonalized(rank_two, dtype).float())
    assert found[1] > 0.65 and found[0] < 1.25
    assert found[2:].max() < (1e-3 if dtype == torch.float32 else 0.5)  # bf16's rounding has directions of its own
    assert orthogonalized(torch.full((3, 3), 1e-30), dtype).isfinite().all()


class Plain:
    """Muon as it is written down, in float64, with a singular value decomposition's worth of patience."""

    def __init__(self, weight: Tensor, *, rate: float, weight_decay: float) -> None:
        self.weight, self.momentum = weight.double(), torch.zeros_like(weight, dtype=torch.float64)
        self.rate, self.weight_decay = rate, weight_decay

    def step(self, gradient: Tensor) -> None:
        gradient = gradient.double()
        self.momentum = 0.95 * self.momentum + 0.05 * gradient
        left, values, right = torch.linalg.svd(0.05 * gradient + 0.95 * self.momentum, full_matrices=False)
        values = values / values.square().sum().sqrt()
        for _ in range(5):
            values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
        update = 0.2 * math.sqrt(max(self.weight.shape)) * (left @ torch.diag(values) @ right)
        self.weight = self.weight - self.rate * self.weight_decay * self.weight - self.rate * update


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.05)])
@pytest.mark.parametrize("shape", [(12, 12), (20, 8), (4, 32), (1, 7)])
def test_fifty_steps_are_those_of_a_plain_twin(shape: tuple[int, int], dtype: torch.dtype, tolerance: float) -> None:
    start = drawn(*shape)
    weight, twin = start.clone(), Plain(start, rate=0.02, weight_decay=0.1)
    optimizer = Muon([weight], [], weight_decay=0.1, dtype=dtype)
    optimizer.param_groups[0]["lr"] = 0.02
    for step in range(50):
        weight.grad = drawn(*shape, seed=step + 1)
        optimizer.step()
        twin.step(drawn(*shape, seed=step + 1))
    moved = (twin.weight - start).norm()
    assert moved > 0.1 and (weight - twin.weight).norm() < tolerance * moved


@pytest.mark.parametrize("shape", [(16, 16), (24, 8), (8, 24)])
def test_a_step_is_torchs_own_within_the_rounding_of_bf16(shape: tuple[int, int]) -> None:
    ours, theirs = torch.zeros(shape), torch.nn.Parameter(torch.zeros(shape))
    ours.grad = theirs.grad = drawn(*shape)
    optimizer = Muon([ours], [], dtype=torch.bfloat16)
    optimizer.param_groups[0]["lr"] = 1.0
    optimizer.step()
    torch.optim.Muon([theirs], lr=1.0, adjust_lr_fn="match_rms_adamw").step()
    assert (ours - theirs).norm() < 0.04 * theirs.norm()


def test_an_update_is_as_large_as_adamws_in_any_shape() -> None:
    """The root mean square of its entries, where AdamW's lies between 0.2 and 0.4 of the rate."""
    for shape in [(64, 64), (4, 64), (64, 4), (48, 192)]:
        weight = torch.zeros(shape)
        weight.grad = drawn(*shape)
        optimizer = Muon([weight], [])
        optimizer.param_groups[0]["lr"] = 1.0
        optimizer.step()
        assert 0.13 < weight.square().mean().sqrt() < 0.24


def test_everything_else_is_stepped_by_adamw() -> None:
    weights = {name: drawn(6, 4, seed=1) for name in ("matrix", "embedding", "twin")}
    optimizer = Muon([weights["matrix"]], [{"params": [weights["embedding"]], "weight_decay": 0.1}])
    expected = torch.optim.AdamW([weights["twin"]], betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    for group in (*optimizer.param_groups, *expected.param_groups):
        group["lr"] = 0.01  # as the loop does
    for step in range(50):
        for weight in weights.values():
            weight.grad = drawn(6, 4, seed=step)
        optimizer.step()
        expected.step()
    assert torch.equal(weights["embedding"], weights["twin"])
    assert not torch.equal(weights["matrix"], weights["twin"])
    assert set(optimizer.state[weights["embedding"]]) == {"step", "exp_avg", "exp_avg_sq"}
    assert set(optimizer.state[weights["matrix"]]) == {"momentum_buffer"}


def test_weights_joined_in_memory_are_stepped_one_by_one() -> None:
    alone = [drawn(4, 6, seed=1), drawn(8, 6, seed=2), drawn(5, 3, seed=3)]
    block, wide = torch.cat(alone[:2]), torch.zeros(5, 7)
    joined = [*block.split([4, 8]), wide[:, 2:5].copy_(alone[2])]
    for weights in (alone, joined):
        optimizer = Muon(weights, [], weight_decay=0.1)
        for step in range(3):
            for number, weight in enumerate(weights):
                weight.grad = drawn(*weight.shape, seed=10 * step + number)
            optimizer.step()
    assert all(torch.equal(one, other) for one, other in zip(alone, joined, strict=True))
    assert torch.equal(block, torch.cat(alone[:2])) and torch.equal(wide[:, 2:5], alone[2])
    assert wide[:, :2].count_nonzero() == wide[:, 5:].count_nonzero() == 0


def test_a_matrix_without_a_gradient_is_left_alone() -> None:
    weights = [drawn(3, 3), drawn(3, 3)]
    optimizer = Muon(weights, [], weight_decay=0.1)
    weights[0].grad = drawn(3, 3, seed=1)
    optimizer.step()
    assert torch.equal(weights[1], drawn(3, 3)) and not torch.equal(weights[0], weights[1])


def test_a_llamas_block_matrices_go_to_muon_and_nothing_else() -> None:
    model = toy_model()
    kinds = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    expected = {name for name, _ in model.named_parameters() if name.split(".")[-2] in kinds}
    assert block_matrices(model) == expected and len(expected) == 14
    groups = build_optimizer(model, "muon", weight_decay=0.1).param_groups
    names = {weight: name for name, weight in model.named_parameters()}
    matrices, embeddings, vectors = ({names[weight] for weight in group["params"]} for group in groups)
    assert matrices == expected
    assert embeddings == {"model.embed_tokens.weight"}  # the tied output layer
    assert vectors == {name for name in names.values() if "norm" in name}
    assert [group["weight_decay"] for group in groups] == [0.1, 0.1, 0.0]


def test_an_output_layer_of_its_own_goes_to_adamw() -> None:
    model = toy_model()
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    embeddings = build_optimizer(model, "muon").param_groups[1]["params"]
    assert set(embeddings) == {model.lm_head.weight, model.model.embed_tokens.weight}


def test_embeddings_inside_blocks_are_embeddings() -> None:
    block = torch.nn.ModuleDict({"embed": torch.nn.Embedding(5, 4), "linear": torch.nn.Linear(4, 4)})
    model = torch.nn.ModuleDict({"blocks": torch.nn.ModuleList([block]), "score": torch.nn.Linear(4, 2)})
    assert block_matrices(model) == {"blocks.0.linear.weight"}


def test_loras_factors_go_to_muon() -> None:
    model = toy_model()
    add_lora(model, Lora(rank=2, targets=("q_proj",)), seed=3)
    (group,) = build_optimizer(model, "muon").param_groups
    assert {tuple(weight.shape) for weight in group["params"]} == {(2, 32), (32, 2)}
    assert len(group["params"]) == 4
