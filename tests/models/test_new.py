"""A model made new: its size, its start, and that every other tool reads it."""

from __future__ import annotations

import dataclasses
import json
import random
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    PreTrainedModel,
)

from setsail.base.errors import ModelError, RecipeError
from setsail.models import attention, shapes
from setsail.models.fused import fuse
from setsail.models.kernels.library import have_compiler
from setsail.models.load import load_model
from setsail.models.new import Shape, SpecialIds, build, derive, describe
from setsail.models.shapes import KINDS, Dimensions, count, fit, parse_size, train_with

SIZES = ("1m", "3m", "8m", "17m", "50m", "135m", "350m", "1b", "3b", "7b")
VOCABULARIES = (2048, 8192, 32000, 49152, 64000)
AUTO_CLASSES = {"decoder": AutoModelForCausalLM, "encoder": AutoModelForMaskedLM, "seq2seq": AutoModelForSeq2SeqLM}
IDS = SpecialIds(bos=0, eos=1, pad=2)
BOUNDS = (0, 9, 14, 100)  # the last document is longer than ModernBERT's usual window


@cache
def tiny(kind: str = "decoder") -> Shape:
    return derive(kind, "1m", vocabulary=2048, context=128)


def made(kind: str = "decoder", *, seed: int = 1, dtype: torch.dtype = torch.float32, tokens: SpecialIds = IDS):
    return build(tiny(kind), seed=seed, dtype=dtype, tokens=tokens)


@cache
def shared(kind: str, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A new model that no test changes."""
    return made(kind, dtype=dtype)


def rows(num_tokens: int, seed: int = 3) -> torch.Tensor:
    return torch.randint(3, 2048, (1, num_tokens), generator=torch.Generator().manual_seed(seed))


def inputs(kind: str) -> dict[str, torch.Tensor]:
    given = {"input_ids": rows(24), "attention_mask": torch.ones(1, 24, dtype=torch.long)}
    return {**given, "decoder_input_ids": rows(7, seed=4)} if kind == "seq2seq" else given


@torch.no_grad()
def logits(model: PreTrainedModel, kind: str) -> torch.Tensor:
    return model(**inputs(kind)).logits


@torch.no_grad()
def packed_logits(model: PreTrainedModel) -> torch.Tensor:
    positions = torch.cat([torch.arange(end - start) for start, end in pairwise(BOUNDS)])[None]
    starts = torch.tensor(BOUNDS, dtype=torch.int32)
    return model(input_ids=rows(BOUNDS[-1]), position_ids=positions, document_starts=starts).logits[0]


@pytest.mark.parametrize(
    ("word", "number"),
    [("1m", 10**6), ("17m", 17 * 10**6), ("350M", 35 * 10**7), ("1.5b", 15 * 10**8), ("7B", 7 * 10**9)],
)
def test_a_size_word_is_a_number_of_parameters(word: str, number: int) -> None:
    assert parse_size(word) == number
    assert parse_size(shapes.size_word(number)) == number


@pytest.mark.parametrize(
    "word", ["", "17", "17k", "0.9m", "7.1b", "-3m", "1e3m", "17 m", "nan", "m", "infb", "99999999m"]
)
def test_any_other_size_is_refused_by_its_value(word: str) -> None:
    with pytest.raises(RecipeError) as error:
        derive("decoder", word, vocabulary=2048, context=128)
    assert f'"{word}"' in error.value.message
    assert "17m" in (error.value.hint or "")


def test_an_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r'"encodr".*\n.*did you mean "encoder"'):
        derive("encodr", "17m", vocabulary=2048, context=128)


@pytest.mark.parametrize(("vocabulary", "context"), [(1, 128), (0, 128), (2048, 0), (2048, 15)])
def test_a_vocabulary_or_context_of_nothing_is_refused(vocabulary: int, context: int) -> None:
    with pytest.raises(RecipeError, match="too small"):
        derive("decoder", "17m", vocabulary=vocabulary, context=context)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_every_size_is_met_or_its_vocabulary_is_refused_with_what_would_do(kind: str, vocabulary: int) -> None:
    for size in SIZES:
        asked = parse_size(size)
        try:
            found = fit(kind, asked, vocabulary=vocabulary, context=1024)
        except RecipeError as error:
            assert 64 * vocabulary > 0.7 * asked, f"{size} has room for {vocabulary} words"
            assert f"{vocabulary:,} words" in error.message
            continue
        assert abs(count(found) / asked - 1) <= 0.05
        check_friendly(found)


def check_friendly(found: Dimensions) -> None:
    """Sizes that kernels and matrix tiles like, and that the model's class takes."""
    assert found.width % 32 == 0 and found.intermediate_size % 32 == 0
    assert found.head_size in (32, 64) and found.head_size * found.num_heads == found.width
    assert found.num_heads % found.num_key_value_heads == 0 and found.num_key_value_heads >= 2
    assert 2 <= found.intermediate_size / found.width <= 4


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(KINDS),
    exponent=st.floats(6, 9.8),
    vocabulary=st.integers(16, 200_000),
)
def test_a_refusal_says_which_vocabulary_and_which_size_would_do(kind: str, exponent: float, vocabulary: int) -> None:
    asked = round(10**exponent)
    try:
        found = fit(kind, asked, vocabulary=vocabulary, context=64)
        assert abs(count(found) / asked - 1) <= 0.05
    except RecipeError as error:
        words = (error.hint or "").replace(",", "").split()
        most_words, size = int(words[words.index("most") + 1]), words[-1]
        assert most_words < vocabulary
        fit(kind, asked, vocabulary=most_words, context=64)
        fit(kind, parse_size(size), vocabulary=vocabulary, context=64)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("size", "vocabulary"), [("1m", 2048), ("17m", 8192), ("135m", 49152), ("7b", 64000)])
def test_the_count_is_that_of_the_model_itself(kind: str, size: str, vocabulary: int) -> None:
    shape = derive(kind, size, vocabulary=vocabulary, context=512)
    assert shape.num_parameters == count(shape.dimensions)
    assert abs(shape.num_parameters / parse_size(size) - 1) <= 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_built_has_the_parameters_that_were_derived(kind: str) -> None:
    assert sum(weight.numel() for weight in shared(kind).parameters()) == tiny(kind).num_parameters


@pytest.mark.parametrize(
    ("size", "vocabulary", "width", "num_layers", "tied"),
    [
        ("135m", 49152, (512, 640), (20, 30), True),  # SmolLM2-135M: 576 wide, 30 deep
        ("360m", 49152, (832, 1024), (28, 32), True),  # SmolLM2-360M: 960 wide, 32 deep
        ("1.7b", 49152, (1792, 2304), (24, 32), True),  # SmolLM2-1.7B: 2048 wide, 24 deep
        ("6.7b", 32000, (3840, 4352), (30, 32), False),  # Llama-2-7B: 4096 wide, 32 deep
    ],
)
def test_known_models_are_near(
    size: str, vocabulary: int, width: tuple[int, int], num_layers: tuple[int, int], tied: bool
) -> None:
    found = derive("decoder", size, vocabulary=vocabulary, context=2048).dimensions
    assert width[0] <= found.width <= width[1]
    assert num_layers[0] <= found.num_layers <= num_layers[1]
    assert found.tied is tied


@pytest.mark.parametrize(("context", "theta"), [(512, 1e4), (8192, 1e5), (32768, 1e6)])
def test_rotary_angles_reach_as_far_as_the_context(context: int, theta: float) -> None:
    assert derive("decoder", "1m", vocabulary=2048, context=context).dimensions.rope_theta == theta


def test_training_values_are_sane_from_the_smallest_to_the_largest() -> None:
    trainings = [derive("decoder", size, vocabulary=8192, context=1024).training for size in SIZES]
    for smaller, larger in pairwise(trainings):
        assert smaller.learning_rate > larger.learning_rate
        assert smaller.muon_learning_rate >= larger.muon_learning_rate > larger.learning_rate
        assert smaller.batch_tokens <= larger.batch_tokens
    assert 3e-3 <= trainings[0].learning_rate <= 1e-2 and 8192 <= trainings[0].batch_tokens <= 32768
    assert 3e-4 <= trainings[-1].learning_rate <= 1e-3 and 2**21 <= trainings[-1].batch_tokens <= 2**23
    assert trainings[0].muon_learning_rate < 1.5e-2 and trainings[-1].muon_learning_rate > 1e-3
    assert all(training.num_steps >= 1000 for training in trainings)


def test_training_values_follow_the_tokens_that_there_are() -> None:
    dimensions = tiny().dimensions
    optimal = train_with(dimensions, 17_000_000)
    short = train_with(dimensions, 17_000_000, num_tokens=2_000_000)
    assert optimal.num_tokens == 340_000_000 and optimal.num_corpus_tokens == 85_000_000
    assert short.num_tokens == 2_000_000
    assert short.batch_tokens < optimal.batch_tokens and short.learning_rate > optimal.learning_rate
    long_rows = dataclasses.replace(dimensions, context=65_536)
    assert train_with(long_rows, 1_000_000).batch_tokens == 65_536  # a whole row at least


@pytest.mark.parametrize("kind", KINDS)
def test_every_value_has_a_reason_and_the_table_says_it(kind: str) -> None:
    shape = derive(kind, "17m", vocabulary=8192, context=1024)
    table = describe(shape).splitlines()
    assert table[0] == f"{kind} 17m, 8,192 words, context 1,024"
    assert len(table) == 1 + len(shape.derivation)
    for line, row in zip(table[1:], shape.derivation, strict=True):
        assert line.startswith(row.name) and line.endswith(row.because) and "\n" not in row.because
    assert json.loads(json.dumps([dataclasses.asdict(row) for row in shape.derivation]))[0]["name"] == "width"
    values = {row.name: row.value for row in shape.derivation}
    assert values["num_parameters"] == shape.num_parameters
    assert values["learning_rate"] == shape.training.learning_rate
    same = {field.name for field in dataclasses.fields(Dimensions)} & values.keys()
    assert {"width", "num_layers", "num_heads", "intermediate_size", "tied"} <= same
    assert all(values[name] == getattr(shape.dimensions, name) for name in same)


def test_a_vocabulary_that_takes_more_than_half_is_told() -> None:
    assert "fewer words" in describe(derive("decoder", "8m", vocabulary=49152, context=512))
    assert "fewer words" not in describe(derive("decoder", "8m", vocabulary=2048, context=512))


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_alone_decides_the_weights(kind: str) -> None:
    first = shared(kind)
    torch.manual_seed(99)
    again, other = made(kind), made(kind, seed=2)
    for (name, weight), same, different in zip(
        first.named_parameters(), again.parameters(), other.parameters(), strict=True
    ):
        assert torch.equal(weight, same), name
        assert weight.ndim < 2 or not torch.equal(weight, different), name


def test_the_global_random_state_stays_as_it_was() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    made()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all() and random.getstate() == before[2]


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_is_the_same_start_rounded_once(kind: str) -> None:
    exact, rounded = shared(kind), shared(kind, torch.bfloat16)
    for weight, expected in zip(rounded.parameters(), exact.parameters(), strict=True):
        assert weight.dtype == torch.bfloat16 and torch.equal(weight, expected.to(torch.bfloat16))
    for buffer, expected in zip(rounded.buffers(), exact.buffers(), strict=True):
        assert torch.equal(buffer, expected)  # rotary frequencies stay exact


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_starts_in_reasonable_size(kind: str) -> None:
    expected = 1.0 if kind == "seq2seq" else tiny(kind).dimensions.width ** -0.5
    assert shared(kind).get_input_embeddings().weight.std().item() == pytest.approx(expected, rel=0.05)
    for name, weight in shared(kind).named_parameters():
        assert torch.isfinite(weight).all(), name
        assert weight.ndim < 2 or 0 < weight.std() <= 1.01, name
        assert weight.ndim == 2 or "bias" in name or torch.equal(weight, torch.ones_like(weight)), name


@pytest.mark.parametrize("kind", ["decoder", "encoder"])
def test_a_new_model_knows_nothing(kind: str) -> None:
    ids = rows(100)
    found = shared(kind)(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
    nats = torch.nn.functional.cross_entropy(found[:-1], ids[0, 1:]).item()
    assert abs(nats - np.log(2048)) < 1.0


def test_what_layers_add_is_smaller_the_deeper_the_model() -> None:
    model, dimensions = shared("decoder"), tiny().dimensions
    weights = dict(model.named_parameters())
    attention_layer = "model.layers.0.self_attn"
    ratio = weights[f"{attention_layer}.o_proj.weight"].std() / weights[f"{attention_layer}.q_proj.weight"].std()
    assert ratio.item() == pytest.approx((2 * dimensions.num_layers) ** -0.5, rel=0.05)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_saved_it_opens_in_plain_transformers_with_the_same_logits(
    kind: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    model = shared(kind, dtype)
    model.save_pretrained(tmp_path)
    plain = AUTO_CLASSES[kind].from_pretrained(tmp_path, attn_implementation="sdpa")
    assert type(plain) is type(model) and plain.dtype == dtype
    torch.testing.assert_close(logits(plain.eval(), kind), logits(model, kind), rtol=0, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_saved_it_opens_as_a_base_of_ours(kind: str, tmp_path: Path) -> None:
    model = shared(kind)
    model.save_pretrained(tmp_path)
    torch.testing.assert_close(
        logits(load_model(tmp_path, dtype=torch.float32), kind), logits(model, kind), rtol=0, atol=0
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_saved_configuration_names_the_tokenizers_ids(kind: str, tmp_path: Path) -> None:
    shared(kind).save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (0, 1, 2)
    saved = json.loads((tmp_path / "config.json").read_text("utf-8"))
    assert saved["vocab_size"] == 2048
    assert "documents" not in json.dumps(saved)  # our attention is no business of other readers
    if kind == "seq2seq":
        assert saved["decoder_start_token_id"] == 2 and saved["feed_forward_proj"] == "gated-gelu"
    if kind == "encoder":
        assert (saved["cls_token_id"], saved["sep_token_id"]) == (0, 1)


def test_the_saved_configuration_says_it_to_older_readers_too(tmp_path: Path) -> None:
    shape = derive("decoder", "1m", vocabulary=2048, context=8192)
    build(shape, seed=1, tokens=IDS).save_pretrained(tmp_path / "decoder")
    saved = json.loads((tmp_path / "decoder" / "config.json").read_text("utf-8"))
    assert saved["rope_theta"] == saved["rope_parameters"]["rope_theta"] == 1e5
    assert AutoConfig.from_pretrained(tmp_path / "decoder").rope_parameters["rope_theta"] == 1e5
    encoder = derive("encoder", "1m", vocabulary=2048, context=8192)
    build(encoder, seed=1, tokens=IDS).save_pretrained(tmp_path / "encoder")
    saved = json.loads((tmp_path / "encoder" / "config.json").read_text("utf-8"))
    assert saved["global_attn_every_n_layers"] == 1 and saved["global_rope_theta"] == 1e5
    again = AutoConfig.from_pretrained(tmp_path / "encoder")
    assert set(again.layer_types) == {"full_attention"}
    assert again.rope_parameters["full_attention"]["rope_theta"] == 1e5


@pytest.mark.parametrize("kind", ["decoder", "seq2seq"])
def test_it_generates(kind: str) -> None:
    model = shared(kind)
    ids = rows(6)
    written = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=5, min_new_tokens=5)
    assert written.shape == ((1, 6) if kind == "seq2seq" else (1, 11))
    assert written[0, 0] == (2 if kind == "seq2seq" else ids[0, 0])


@pytest.mark.parametrize("kind", ["decoder", "encoder"])
def test_packed_documents_do_not_see_each_other(kind: str) -> None:
    model = made(kind)
    together = packed_logits(model)
    model.set_attn_implementation("sdpa")
    with torch.no_grad():
        alone = [model(input_ids=rows(BOUNDS[-1])[:, start:end]).logits[0] for start, end in pairwise(BOUNDS)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(not have_compiler(), reason="no C++ compiler here")
def test_the_kernels_know_every_module_of_a_decoder() -> None:
    model = made()
    expected, num_layers = packed_logits(model), tiny().dimensions.num_layers
    fused = fuse(model)
    assert len(fused) == 4 * num_layers + 1  # in each layer two norms, attention and MLP; one norm at the end
    torch.testing.assert_close(packed_logits(model), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["decoder", "encoder"])
def test_a_padding_token_that_also_ends_texts_is_learned(kind: str) -> None:
    model = made(kind, tokens=SpecialIds(bos=None, eos=1, pad=1)).train()
    ids = torch.tensor([[5, 1, 7, 8]])
    model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[:, 2].square().sum().backward()
    embedding = model.get_input_embeddings()
    assert embedding.padding_idx is None and embedding.weight.grad[1].abs().sum() > 0
    if kind == "decoder":
        assert model.generation_config.pad_token_id == 1


@pytest.mark.parametrize("tokens", [SpecialIds(2048, 1, 2), SpecialIds(0, -1, 2), SpecialIds(0, 1, 9999)])
def test_special_tokens_outside_the_vocabulary_are_refused(tokens: SpecialIds) -> None:
    with pytest.raises(ModelError, match="outside the vocabulary of 2,048"):
        made(tokens=tokens)


def test_seq2seq_needs_a_padding_token_to_begin_with() -> None:
    with pytest.raises(ModelError, match="begins each answer with the padding token"):
        made("seq2seq", tokens=SpecialIds(bos=None, eos=1, pad=None))


def test_it_comes_with_our_attention_in_evaluation_mode() -> None:
    model = shared("decoder")
    assert model.config._attn_implementation == attention.NAME and not model.training
