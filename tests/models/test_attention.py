from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from transformers import BertConfig, BertModel, PreTrainedModel

from models import toy_model
from setsail.models import attention

LENGTHS = {
    "mixed": (5, 40, 7, 1, 33, 12, 12),
    "one long document": (60,),
    "many short ones": (3,) * 20,
    "two of one token": (1, 1),
}


def packed(lengths: tuple[int, ...], *, seed: int = 1) -> dict[str, torch.Tensor]:
    """A row of random documents as the model's keyword arguments."""
    generator = torch.Generator().manual_seed(seed)
    starts = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32)
    return {
        "input_ids": torch.randint(3, toy_model.NUM_ROWS, (1, sum(lengths)), generator=generator),
        "position_ids": torch.cat([torch.arange(length) for length in lengths]).unsqueeze(0),
        "document_starts": starts,
    }


def states(model: PreTrainedModel, row: dict[str, torch.Tensor]) -> torch.Tensor:
    return model.model(**row, use_cache=False).last_hidden_state[0]


def alone(model: PreTrainedModel, row: dict[str, torch.Tensor]) -> torch.Tensor:
    """The same documents one after the other through sdpa."""
    model.set_attn_implementation("sdpa")
    bounds = row["document_starts"].tolist()
    parts = [
        model.model(input_ids=row["input_ids"][:, start:end], use_cache=False).last_hidden_state[0]
        for start, end in pairwise(bounds)
    ]
    model.set_attn_implementation(attention.NAME)
    return torch.cat(parts)


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
def test_packed_documents_equal_each_document_alone(kind: str, lengths: tuple[int, ...]) -> None:
    model, row = toy_model.model(kind), packed(lengths)
    with torch.no_grad():
        torch.testing.assert_close(states(model, row), alone(model, row), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("lengths", [LENGTHS["mixed"], LENGTHS["one long document"]])
def test_bf16_stays_within_its_rounding_of_each_document_alone(lengths: tuple[int, ...]) -> None:
    model, row = toy_model.model(dtype=torch.bfloat16), packed(lengths)
    with torch.no_grad():
        together, apart = states(model, row).float(), alone(model, row).float()
    assert (together - apart).norm() / apart.norm() < 0.02  # a few units of bf16's last place (2^-8) over two layers


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.05)])
def test_gradients_equal_those_of_each_document_alone(dtype: torch.dtype, tolerance: float) -> None:
    model, row = toy_model.model(dtype=dtype), packed(LENGTHS["mixed"])
    weights = torch.randn(sum(LENGTHS["mixed"]), 64, generator=torch.Generator().manual_seed(2))
    gradients = []
    for forward in (states, alone):
        model.zero_grad()
        (forward(model, row).float() * weights).sum().backward()
        gradients.append({name: p.grad.float() for name, p in model.named_parameters() if p.grad is not None})
    for name, gradient in gradients[1].items():
        assert (gradients[0][name] - gradient).norm() <= tolerance * gradient.norm(), name


def test_nothing_leaks_from_one_document_into_another() -> None:
    model, row = toy_model.model(), packed((20, 30, 10))
    changed = {**row, "input_ids": row["input_ids"].clone()}
    changed["input_ids"][0, 4] += 1
    with torch.no_grad():
        before, after = states(model, row), states(model, changed)
    assert torch.equal(before[20:], after[20:])
    assert torch.equal(before[:4], after[:4])
    assert not torch.equal(before[4:20], after[4:20])


def test_packing_with_a_sliding_window_equals_each_document_alone() -> None:
    changes = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}
    model, row = toy_model.model("qwen2", **changes), packed(LENGTHS["mixed"])
    assert "sliding_attention" in model.config.layer_types
    with torch.no_grad():
        torch.testing.assert_close(states(model, row), alone(model, row), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("padded", [False, True])
def test_without_document_starts_it_is_sdpa(padded: bool) -> None:
    model = toy_model.model()
    ids = torch.randint(3, toy_model.NUM_ROWS, (2, 9), generator=torch.Generator().manual_seed(3))
    mask = torch.ones_like(ids)
    if padded:
        mask[0, :4] = 0
    with torch.no_grad():
        ours = model(input_ids=ids, attention_mask=mask).logits
        model.set_attn_implementation("sdpa")
        theirs = model(input_ids=ids, attention_mask=mask).logits
    assert torch.equal(ours, theirs)


def test_packed_positions_without_document_starts_are_kept_apart_as_sdpa_does() -> None:
    model, row = toy_model.model(), packed((6, 9))
    del row["document_starts"]
    with torch.no_grad():
        ours = states(model, row)
        model.set_attn_implementation("sdpa")
        assert torch.equal(ours, states(model, row))


def test_generate_is_what_it_was() -> None:
    model = toy_model.model()
    ids = torch.randint(3, toy_model.NUM_ROWS, (2, 7), generator=torch.Generator().manual_seed(4))
    mask = torch.tensor([[0, 0, 1, 1, 1, 1, 1], [1] * 7])
    ours = model.generate(ids, attention_mask=mask, max_new_tokens=12, do_sample=False, eos_token_id=None)
    model.set_attn_implementation("sdpa")
    theirs = model.generate(ids, attention_mask=mask, max_new_tokens=12, do_sample=False, eos_token_id=None)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("starts", [[0, 3], [0, 3, 3, 10], [1, 10], [0, 12], [0]])
def test_starts_that_do_not_cut_the_row_are_refused(starts: list[int]) -> None:
    row = packed((4, 6))
    with pytest.raises(ValueError, match="must rise from 0 to 10"):
        states(toy_model.model(), {**row, "document_starts": torch.tensor(starts)})


def test_a_padding_mask_beside_document_starts_is_refused() -> None:
    row = packed((4, 6))
    mask = torch.ones(1, 10)
    mask[0, :2] = 0
    with pytest.raises(ValueError, match="exclude each other"):
        states(toy_model.model(), {**row, "attention_mask": mask})


def test_a_batch_of_rows_is_refused() -> None:
    row = packed((4, 6))
    twice = {name: value.repeat(2, 1) for name, value in row.items() if name != "document_starts"}
    with pytest.raises(ValueError, match="one packed row"):
        states(toy_model.model(), {**twice, "document_starts": row["document_starts"]})


def test_a_window_that_looks_both_ways_is_a_band() -> None:
    generator = torch.Generator().manual_seed(3)
    query, key, value = (torch.randn(1, 2, 17, 16, generator=generator) for _ in range(3))
    starts = torch.tensor([0, 6, 17], dtype=torch.int32)
    found, _ = attention.documents_attention(
        torch.nn.Module(), query, key, value, None, starts, is_causal=False, sliding_window=4
    )
    places = torch.arange(17)
    near = (places[:, None] - places[None]).abs() < 4
    together = (places[:, None] < 6) == (places[None] < 6)
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=near & together)
    torch.testing.assert_close(found, expected.transpose(1, 2), atol=1e-5, rtol=1e-5)


def test_a_model_that_looks_both_ways_attends_without_documents_and_without_a_mask() -> None:
    config = BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48, vocab_size=61)
    attention.register()
    config._attn_implementation = attention.NAME
    torch.manual_seed(0)
    model, ids = BertModel(config).eval(), torch.arange(10)[None]
    found = model(ids).last_hidden_state
    model.set_attn_implementation("sdpa")
    torch.testing.assert_close(found, model(ids).last_hidden_state)
