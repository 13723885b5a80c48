"""Preferring answers: the loss and its gradients are those of the plain formula, and the margin grows."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch.nn.functional import logsigmoid
from toy_training import toy_model

from setsail.base.recipe import Lora
from setsail.models.lora import add_lora
from setsail.tasks.preference import PreferenceBatch, halves_of, make_batch, with_reference
from setsail.tokens.pack import Example
from setsail.train import loss as loss_module
from setsail.train.loop import train
from setsail.train.optimizer import adamw
from setsail.train.preference import margins, preference, preference_nats

VOCABULARY = 61


def toy_pairs(count: int, seed: int = 0) -> list[Example]:
    """Pairs of answers of 1 to 7 tokens to prompts of 1 to 6."""
    draw = np.random.default_rng(seed)
    pairs = []
    for number in range(count):
        prompt = draw.integers(0, VOCABULARY, size=draw.integers(1, 7))
        answers = [draw.integers(0, VOCABULARY, size=draw.integers(1, 8)) for _ in range(2)]
        ids = np.concatenate([part for answer in answers for part in (prompt, answer)])
        mask = np.concatenate([np.repeat([False, True], [len(prompt), len(answer)]) for answer in answers])
        pairs.append(Example(ids.astype(np.int32), mask, f"row{number}"))
    return pairs


def log_probability(model, half: Example) -> tuple[torch.Tensor, int]:
    """log p(answer | prompt) by the model's own forward on this conversation alone, and the answer's length."""
    ids = torch.tensor(half.ids, dtype=torch.long)
    logits = model(input_ids=ids[None], use_cache=False).logits[0, :-1]
    each = logits.log_softmax(-1).gather(1, ids[1:, None])[:, 0]
    return each[torch.tensor(half.loss_mask[1:])].sum(), int(half.loss_mask.sum())


def plain_loss(model, reference, pairs: Sequence[Example], *, beta: float, sft: float = 0.0) -> torch.Tensor:
    """The formula, a conversation at a time, with a second model as the reference."""
    total = torch.zeros((), dtype=torch.float64)
    for pair in pairs:
        (chosen, length), (rejected, _) = (log_probability(model, half) for half in halves_of(pair))
        with torch.no_grad():
            (chosen_before, _), (rejected_before, _) = (log_probability(reference, half) for half in halves_of(pair))
        total = total - logsigmoid(beta * ((chosen - rejected) - (chosen_before - rejected_before)))
        total = total - sft * chosen / length
    return total


def known(model, pairs: Sequence[Example]) -> list[Example]:
    """The pairs with what the model makes of them."""
    found = margins(model, make_batch(pairs))[:, 0]
    return [with_reference(pair, margin) for pair, margin in zip(pairs, found, strict=True)]


def changed(model):
    """A copy that has gone some way from the model."""
    copied = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in copied.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype))
    return copied


@pytest.mark.parametrize("logits_per_chunk", [1, 2**30])
@pytest.mark.parametrize("sft", [0.0, 0.7])
def test_loss_and_gradients_are_those_of_the_formula(monkeypatch, logits_per_chunk: int, sft: float) -> None:
    monkeypatch.setattr(loss_module, "LOGITS_PER_CHUNK", logits_per_chunk)
    base, pairs = toy_model(torch.float64), toy_pairs(21)  # more tokens than the 16 of the smallest chunk
    ours = changed(base)
    theirs = copy.deepcopy(ours)
    nats, count = preference(beta=0.3, sft=sft).loss(ours, make_batch(known(base, pairs)))
    nats.backward()
    expected = plain_loss(theirs, base, pairs, beta=0.3, sft=sft)
    expected.backward()
    assert count == len(pairs)
    assert nats.item() == pytest.approx(expected.item(), rel=1e-9)
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-6, atol=1e-10, msg=name)


def test_the_kernel_has_the_same_gradients() -> None:
    base, pairs = toy_model(torch.float64), toy_pairs(12)
    exact, quick = changed(base), changed(base).float()
    batch = make_batch(known(base, pairs))
    for model in (exact, quick):
        preference(beta=0.3).loss(model, batch)[0].backward()
    for (name, mine), other in zip(quick.named_parameters(), exact.parameters(), strict=True):
        torch.testing.assert_close(mine.grad.double(), other.grad, rtol=1e-3, atol=1e-6, msg=name)


def test_each_target_may_weigh_something_else() -> None:
    """The function beneath passes gradcheck for any weights of the targets."""
    torch.manual_seed(0)
    head = torch.nn.Linear(5, 7, dtype=torch.float64)
    hidden = torch.randn(9, 5, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(0, 7, (9,))

    def nats(hidden: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        return loss_module._NatsOfEach.apply(head, hidden, targets, *weights)

    assert torch.autograd.gradcheck(nats, (hidden, *head.parameters()))


def test_packing_changes_nothing() -> None:
    base, pairs = toy_model(torch.float64), toy_pairs(9)
    model, pairs = changed(base), known(base, pairs)
    objective = preference(beta=0.3, sft=0.1)
    together = objective.row_nats(model, make_batch(pairs[::-1]))[::-1]
    alone = [objective.row_nats(model, make_batch([pair]))[0] for pair in pairs]
    np.testing.assert_allclose(together, alone, rtol=1e-9)
    assert [count for _, count in together] == [1] * len(pairs)


def test_a_model_that_is_its_own_reference_pays_one_bit_for_a_pair() -> None:
    base = toy_model(torch.float64)
    pairs = known(base, toy_pairs(5))
    assert [nats for nats, _ in preference(beta=0.3).row_nats(base, make_batch(pairs))] == pytest.approx(
        [np.log(2)] * 5
    )


def test_the_figure_of_validation_is_the_loss() -> None:
    base, pairs = toy_model(torch.float64), toy_pairs(7)
    batch, model = make_batch(known(base, pairs)), changed(base)
    figures = preference_nats(margins(model, batch)[:, 0], batch.reference_P, beta=0.3)
    np.testing.assert_allclose(figures, [nats for nats, _ in preference(beta=0.3).row_nats(model, batch)], rtol=1e-12)
    assert np.isfinite(preference_nats(np.array([-1e6, 1e6]), np.zeros(2), beta=1.0)).all()


def test_margins_are_those_of_the_plain_model_in_all_and_per_token() -> None:
    model, pairs = toy_model(torch.float64), toy_pairs(7)
    expected = []
    for pair in pairs:
        (chosen, length), (rejected, other) = (log_probability(model, half) for half in halves_of(pair))
        expected.append([(chosen - rejected).item(), (chosen / length - rejected / other).item()])
    np.testing.assert_allclose(margins(model, make_batch(pairs)), expected, rtol=1e-9)


def test_the_halves_of_a_pair_are_what_it_was_made_of() -> None:
    for pair in toy_pairs(50, seed=4):
        chosen, rejected = halves_of(pair)
        assert np.concatenate([chosen.ids, rejected.ids]).tolist() == pair.ids.tolist()
        for half in (chosen, rejected):
            assert half.loss_mask[-1] and not half.loss_mask[0]
            assert int(np.diff(half.loss_mask.astype(int)).clip(0).sum()) == 1


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_chosen_answers_become_the_likelier_ones(method: str) -> None:
    model = toy_model(torch.float32)
    pairs = known(model, toy_pairs(12, seed=2))
    if method == "lora":
        add_lora(model, Lora(rank=4, targets=("q_proj", "v_proj", "down_proj")), seed=3)
    before, reference = margins(model, make_batch(pairs))[:, 0], make_batch(pairs).reference_P
    np.testing.assert_allclose(before, reference, atol=1e-4)  # an adapter that learned nothing is the base
    batches: list[list[PreferenceBatch]] = [[make_batch(pairs[:6]), make_batch(pairs[6:])]] * 25
    steps = list(
        train(
            model,
            batches,
            optimizer=adamw(model, weight_decay=0.0),
            learning_rate=lambda step: 3e-3 if method == "full" else 2e-2,
            clip_norm=1.0,
            seed=1,
            objective=preference(beta=0.2),
        )
    )
    grown = margins(model, make_batch(pairs))[:, 0] - reference
    assert (grown > 0).all()
    assert steps[0].loss_nats == pytest.approx(np.log(2), abs=1e-4) and steps[-1].loss_nats < 0.5
    assert steps[0].num_supervised == 12
