"""Restoring hidden text: neither packing, nor padding, nor neighbours, nor chunks change what is learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from toy_restoring import MASK, bert, masked_batch, modernbert, passages, span_batch, steps_of, t5, voyage
from transformers import BartConfig, BartForConditionalGeneration, RobertaConfig, RobertaForMaskedLM

from setsail.base.errors import ModelError
from setsail.tokens.pack import Example, side_by_side
from setsail.tokens.pad import pad_pairs
from setsail.train import loss as loss_module
from setsail.train.journal import read_journal
from setsail.train.loop import train
from setsail.train.masked import MASKED, check_masked, masked_logits
from setsail.train.objective import Batch, Objective
from setsail.train.optimizer import adamw
from setsail.train.plan import probe
from setsail.train.spans import SPANS, check_spans, span_logits

MODELS = {"modernbert": modernbert, "bert": bert, "t5": t5}
OBJECTIVES = {"modernbert": MASKED, "bert": MASKED, "t5": SPANS}
BATCHES = {MASKED.name: masked_batch, SPANS.name: span_batch}


def plain_nats(family: str, model, examples: list[Example]) -> list[torch.Tensor]:
    """The slow twin: transformers' own forward, a padded batch of all rows, all logits at once."""
    objective = OBJECTIVES[family]
    alone: list[Batch] = [BATCHES[objective.name]([example]) for example in examples]
    if objective is SPANS:
        batch = span_batch(examples)
        inputs = {"input_ids": batch.input_ids, "attention_mask": batch.input_mask.astype(int)}
        labels = torch.tensor(batch.targets)
        logits = model(**{name: torch.tensor(value) for name, value in inputs.items()}, labels=labels).logits
        return list(cross_entropy(logits.transpose(1, 2), labels, reduction="none").sum(dim=1))
    length = max(each.num_tokens for each in alone)
    ids, targets, mask = (torch.zeros(len(alone), length, dtype=torch.long) for _ in range(3))
    targets -= 100
    for number, each in enumerate(alone):
        ids[number, : each.num_tokens] = torch.tensor(each.input_ids)
        targets[number, : each.num_tokens] = torch.tensor(each.targets)
        mask[number, : each.num_tokens] = 1
    logits = model(input_ids=ids, attention_mask=mask).logits
    return list(cross_entropy(logits.transpose(1, 2), targets, reduction="none").sum(dim=1))


@pytest.mark.parametrize("family", MODELS)
def test_a_batch_has_the_loss_of_plain_transformers_row_by_row(family: str) -> None:
    model, examples, objective = MODELS[family](torch.float64), passages(9), OBJECTIVES[family]
    batch = BATCHES[objective.name](examples)
    expected = [nats.item() for nats in plain_nats(family, model, examples)]
    rows = objective.row_nats(model, batch)
    np.testing.assert_allclose([nats for nats, _ in rows], expected, rtol=1e-6)
    total, count = objective.loss(model, batch)
    assert total.item() == pytest.approx(sum(expected), rel=1e-6)
    assert count == batch.num_supervised == sum(number for _, number in rows)


@pytest.mark.parametrize("logits_per_chunk", [1, 2**30])
@pytest.mark.parametrize("family", MODELS)
def test_gradients_are_those_of_the_plain_loss(monkeypatch, family: str, logits_per_chunk: int) -> None:
    monkeypatch.setattr(loss_module, "LOGITS_PER_CHUNK", logits_per_chunk)
    examples, objective = passages(20), OBJECTIVES[family]
    ours, plain = MODELS[family](torch.float64), MODELS[family](torch.float64)
    nats, count = objective.loss(ours, BATCHES[objective.name](examples))
    (nats / count).backward()
    (torch.stack(plain_nats(family, plain, examples)).sum() / count).backward()
    for (name, mine), theirs in zip(ours.named_parameters(), plain.parameters(), strict=True):
        if mine.grad is None and theirs.grad is None:
            assert "pooler" in name, name
            continue
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-5, atol=1e-9, msg=name)


@pytest.mark.parametrize("family", MODELS)
def test_the_kernels_loss_is_that_of_plain_torch(monkeypatch, family: str) -> None:
    """With a bias in the output layer too, as ModernBERT and BERT have one."""
    batch, objective, grads = BATCHES[OBJECTIVES[family].name](passages(20)), OBJECTIVES[family], []
    for has_kernels in (True, False):
        if not has_kernels:
            monkeypatch.setattr(loss_module.kernels, "can_compute", lambda tensor: False)
        model = MODELS[family]()
        objective.loss(model, batch)[0].backward()
        grads.append({name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None})
    assert grads[0].keys() == grads[1].keys()
    for name, grad in grads[0].items():
        torch.testing.assert_close(grad, grads[1][name], rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("family", MODELS)
def test_a_row_does_not_see_its_neighbours_nor_its_padding(family: str) -> None:
    model, examples, objective = MODELS[family](), passages(6), OBJECTIVES[family]
    make = BATCHES[objective.name]
    alone = [objective.row_nats(model, make([example]))[0] for example in examples]
    together = objective.row_nats(model, make(examples[::-1]))[::-1]
    np.testing.assert_allclose([nats for nats, _ in together], [nats for nats, _ in alone], rtol=1e-5)


@pytest.mark.parametrize("family", MODELS)
def test_logits_exist_only_where_something_was_hidden(monkeypatch, family: str) -> None:
    monkeypatch.setattr(loss_module.kernels, "can_compute", lambda tensor: False)
    model, batch = MODELS[family](), BATCHES[OBJECTIVES[family].name](passages(20))
    seen: list[int] = []
    head = model.get_output_embeddings()
    head.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    OBJECTIVES[family].loss(model, batch)
    assert sum(seen) == batch.num_supervised < batch.num_tokens


@pytest.mark.parametrize("family", ["modernbert", "bert"])
def test_a_masked_token_is_told_by_what_stands_behind_it_too(family: str) -> None:
    """And by nothing that is hidden: other targets change no logits."""
    model, example = MODELS[family](), passages(1)[0]
    ids = example.ids.astype(np.int64)
    targets = np.full(len(ids), -100)
    ids[2], targets[2] = MASK, example.ids[2]
    before = masked_logits(model, side_by_side([(ids, targets)], ["a"]))
    later = ids.copy()
    later[3] = 60
    assert not torch.allclose(before, masked_logits(model, side_by_side([(later, targets)], ["a"])))
    targets[2] = 60
    assert torch.equal(before, masked_logits(model, side_by_side([(ids, targets)], ["a"])))


def test_what_is_written_is_told_by_what_was_written_before_alone() -> None:
    model = t5()
    inputs, targets = np.array([11, 3, 12, 2]), np.array([3, 20, 21, 2])
    other = targets.copy()
    other[2] = 22
    before, after = (span_logits(model, pad_pairs([(inputs, each)], ["a"])) for each in (targets, other))
    assert torch.equal(before[:3], after[:3]) and not torch.equal(before[3], after[3])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", MODELS)
def test_families_that_compute_as_we_do_are_taken(family: str, dtype: torch.dtype) -> None:
    OBJECTIVES[family].check(MODELS[family](dtype))


@pytest.mark.parametrize("tied", [True, False])
def test_the_logits_of_t5_are_scaled_as_it_says(tied: bool) -> None:
    check_spans(t5(tied=tied))


def test_a_family_that_scales_otherwise_is_refused() -> None:
    model = t5()
    model.config.scale_decoder_outputs = True
    model.forward = lambda original=model.forward, **inputs: _doubled(original(**inputs))
    with pytest.raises(ModelError, match="T5ForConditionalGeneration differ by"):
        check_spans(model)


def _doubled(output):
    output.logits = output.logits * 2
    return output


def test_an_encoder_that_counts_its_positions_otherwise_is_refused() -> None:
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4}
    with pytest.raises(ModelError, match='training a masked "roberta" model is not supported'):
        check_masked(RobertaForMaskedLM(RobertaConfig(vocab_size=61, **sizes)))


def test_a_bart_writes_as_it_should() -> None:
    sizes = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48}
    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
    check_spans(BartForConditionalGeneration(BartConfig(vocab_size=61, **sizes, **heads, **ids)))


@pytest.mark.parametrize("objective", [MASKED, SPANS], ids=lambda objective: objective.name)
def test_it_learns(objective: Objective) -> None:
    steps = steps_of(objective, 30)
    model = (modernbert if objective is MASKED else t5)()
    assert probe(model, steps[0], objective).seconds_per_token > 0
    settings = {"learning_rate": lambda index: 0.005, "clip_norm": 1.0, "seed": 1, "objective": objective}
    losses = [step.loss_nats for step in train(model, steps, optimizer=adamw(model), **settings)]
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])


@pytest.mark.parametrize("objective", [MASKED, SPANS], ids=lambda objective: objective.name)
def test_stopped_and_started_again_is_never_stopped(objective: Objective, tmp_path: Path) -> None:
    """The second attempt makes its batches anew, as another process would; the second epoch hides other tokens."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    never = len(steps_of(objective, 2))
    assert len(list(voyage(whole, objective, steps_of(objective, 2), never + 1))) == never
    list(voyage(parts, objective, steps_of(objective, 2), 3))
    list(voyage(parts, objective, steps_of(objective, 2), never + 1))
    assert (parts / "final.txt").read_text() == (whole / "final.txt").read_text()
    journals = [[record["loss_hex"] for record in read_journal(at / "steps.jsonl")] for at in (whole, parts)]
    assert journals[0] == journals[1] and len(journals[0]) == never


@pytest.mark.parametrize("make", [masked_batch, span_batch])
def test_each_epoch_hides_other_tokens(make) -> None:
    examples = passages(6)
    first, again, second = (make(examples, draw) for draw in ("5:0", "5:0", "5:1"))
    assert np.array_equal(first.input_ids, again.input_ids) and np.array_equal(first.targets, again.targets)
    assert first.input_ids.shape != second.input_ids.shape or not np.array_equal(first.input_ids, second.input_ids)
