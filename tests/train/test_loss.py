"""The loss: packing, chunking and skipping change nothing but the cost."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from toy_training import packed, toy_documents, toy_model
from transformers import Gemma2Config, Gemma2ForCausalLM

from setsail.base.errors import ModelError
from setsail.models.kernels.library import have_compiler
from setsail.train import loss as loss_module
from setsail.train.loss import check_head, row_nats, supervised_loss


def padded_nats(model, documents) -> torch.Tensor:
    """The slow twin: documents one under the other with padding, all logits held at once."""
    length = max(len(ids) for ids, _ in documents)
    ids, targets, mask = (torch.zeros(len(documents), length, dtype=torch.long) for _ in range(3))
    targets -= 100
    for number, (document, goal) in enumerate(documents):
        ids[number, : len(document)] = torch.tensor(document)
        targets[number, : len(document)] = torch.tensor(goal)
        mask[number, : len(document)] = 1
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    return cross_entropy(logits.transpose(1, 2), targets, reduction="none").sum(dim=1)


@pytest.mark.parametrize("attention", ["documents", "sdpa", "eager"])
def test_a_packed_row_has_the_loss_of_padded_ones_row_by_row(attention: str) -> None:
    model, documents = toy_model(torch.float64, attention=attention), toy_documents(9)
    expected = padded_nats(model, documents)
    rows = row_nats(model, packed(documents))
    np.testing.assert_allclose([nats for nats, _ in rows], expected.detach(), rtol=1e-6)
    assert [count for _, count in rows] == [int((targets != -100).sum()) for _, targets in documents]
    total, count = supervised_loss(model, packed(documents))
    assert total.item() == pytest.approx(expected.sum().item(), rel=1e-6)
    assert count == packed(documents).num_supervised


@pytest.mark.parametrize("logits_per_chunk", [1, 2**30])
@pytest.mark.parametrize("attention", ["documents", "sdpa"])
def test_gradients_are_those_of_the_plain_loss(monkeypatch, logits_per_chunk: int, attention: str) -> None:
    monkeypatch.setattr(loss_module, "LOGITS_PER_CHUNK", logits_per_chunk)
    documents = toy_documents(20)
    ours, plain = toy_model(torch.float64, attention=attention), toy_model(torch.float64)
    nats, count = supervised_loss(ours, packed(documents))
    (nats / count).backward()
    (padded_nats(plain, documents).sum() / count).backward()
    for (name, mine), theirs in zip(ours.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-5, atol=1e-9, msg=name)


def test_the_chunked_loss_passes_gradcheck() -> None:
    torch.manual_seed(0)
    head = torch.nn.Linear(5, 7, dtype=torch.float64)
    hidden = torch.randn(37, 5, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(0, 7, (37,))

    def nats(hidden: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        return loss_module._ChunkedNats.apply(head, hidden, targets, *weights)

    assert torch.autograd.gradcheck(nats, (hidden, *head.parameters()))


def test_logits_exist_only_where_a_token_is_supervised_and_never_all_at_once(monkeypatch) -> None:
    monkeypatch.setattr(loss_module.kernels, "can_compute", lambda tensor: False)
    monkeypatch.setattr(loss_module, "LOGITS_PER_CHUNK", 16 * 61)
    model, batch = toy_model(), packed(toy_documents(20))
    seen: list[torch.Tensor] = []
    model.lm_head.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach()))
    supervised_loss(model, batch)
    assert max(len(hidden) for hidden in seen) == 16
    everywhere = model.get_decoder()(
        input_ids=torch.tensor(batch.input_ids)[None],
        position_ids=torch.tensor(batch.positions)[None],
        document_starts=torch.tensor(batch.document_starts),
        use_cache=False,
    ).last_hidden_state[0]
    assert torch.equal(torch.cat(seen), everywhere[torch.tensor(batch.targets != -100)])


def test_the_kernel_too_never_has_all_logits_at_once(monkeypatch) -> None:
    whole, shapes = supervised_loss(toy_model(), packed(toy_documents(20))), []
    compute = loss_module.kernels.cross_entropy_

    def watched(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(logits.shape))
        return compute(logits, targets)

    monkeypatch.setattr(loss_module.kernels, "cross_entropy_", watched)
    monkeypatch.setattr(loss_module, "LOGITS_PER_CHUNK", 16 * 61)
    nats, count = supervised_loss(toy_model(), packed(toy_documents(20)))
    if have_compiler():
        assert sum(rows for rows, _ in shapes) == count
        assert max(rows for rows, _ in shapes) == 16
    torch.testing.assert_close(nats, whole[0])


def test_a_frozen_head_gets_no_gradient_but_what_is_below_it_does() -> None:
    model = toy_model()
    model.requires_grad_(False)
    model.model.layers[0].mlp.up_proj.weight.requires_grad_(True)
    supervised_loss(model, packed(toy_documents(4)))[0].backward()
    assert model.lm_head.weight.grad is None
    assert model.model.layers[0].mlp.up_proj.weight.grad.abs().sum() > 0


def test_a_document_does_not_see_its_neighbours() -> None:
    model, documents = toy_model(), toy_documents(6)
    alone = [row_nats(model, packed([document]))[0] for document in documents]
    together = row_nats(model, packed(documents[::-1]))[::-1]
    np.testing.assert_allclose([nats for nats, _ in together], [nats for nats, _ in alone], rtol=1e-5)


def test_evaluating_leaves_the_model_in_training_mode_and_ignores_dropout() -> None:
    model = toy_model(dropout=0.5).train()
    batch = packed(toy_documents(6))
    assert row_nats(model, batch) == row_nats(model, batch)
    assert model.training


def test_a_family_that_changes_its_logits_after_the_head_is_refused() -> None:
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = Gemma2Config(vocab_size=61, num_hidden_layers=2, head_dim=8, final_logit_softcapping=30.0, **sizes)
    with pytest.raises(ModelError, match="Gemma2ForCausalLM changes its logits"):
        check_head(Gemma2ForCausalLM(config))
    check_head(toy_model())
