"""A model made new: one dial for its size, the derivation that a person reads, and an ordinary transformers model.

The sizes themselves are worked out in shapes.py; loading what exists is load.py. The invariant: the weights of a new
model depend on its shape and seed alone, and what is saved opens in plain transformers with the same outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    LlamaConfig,
    ModernBertConfig,
    PreTrainedConfig,
    PreTrainedModel,
    T5Config,
)

from setsail.base.errors import ModelError
from setsail.models import attention, shapes
from setsail.models.kinds import AUTO_CLASSES
from setsail.models.shapes import Derived, Dimensions, Training

EPSILON = 1e-5
RESIDUAL_OUTPUTS = ("o_proj.weight", "down_proj.weight")


@dataclass(frozen=True)
class SpecialIds:
    """The tokenizer's special tokens: what begins a text (an encoder's cls), ends it (its sep) and pads it."""

    bos: int | None
    eos: int
    pad: int | None


@dataclass(frozen=True)
class Shape:
    """A model to be made, how to train it, and a line of reason for each value of both.

    `num_parameters` counts every parameter of the transformers model, embeddings included and once where they are tied.
    """

    size: str
    dimensions: Dimensions
    num_parameters: int
    training: Training
    derivation: tuple[Derived, ...]


def derive(kind: str, size: str, *, vocabulary: int, context: int) -> Shape:
    """The shape of a model of about `size` parameters ("17m", "1.5b"), for `vocabulary` words and rows of `context`.

    Raises: RecipeError for an unknown kind, a size outside 1m to 7b, or a vocabulary that leaves nothing for layers.
    """
    num_asked = shapes.parse_size(size)
    dimensions = shapes.fit(shapes.parse_kind(kind), num_asked, vocabulary=vocabulary, context=context)
    num_parameters = count_parameters(dimensions)
    training = shapes.train_with(dimensions, num_parameters)
    derivation = (
        *shapes.explain(dimensions, num_asked),
        Derived("initializer_range", *_initialisation(dimensions)),
        Derived("num_parameters", num_parameters, _why_counted(dimensions, num_parameters)),
        *shapes.explain_training(training, num_parameters),
    )
    return Shape(size, dimensions, num_parameters, training, derivation)


def describe(shape: Shape) -> str:
    """The derivation as a person reads it: name, value, because."""
    d = shape.dimensions
    rows = [(row.name, _shown(row.value), row.because) for row in shape.derivation]
    names, values = (max(len(row[column]) for row in rows) for column in (0, 1))
    lines = [f"{name:<{names}}  {value:>{values}}  {because}" for name, value, because in rows]
    return "\n".join([f"{d.kind} {shape.size}, {d.vocabulary:,} words, context {d.context:,}", *lines])


def count_parameters(dimensions: Dimensions) -> int:
    """Parameters of the model that transformers makes of these dimensions, shared ones once; nothing is allocated."""
    config = _config(dimensions, SpecialIds(bos=None, eos=0, pad=0))
    with torch.device("meta"):
        model = AUTO_CLASSES[dimensions.kind].from_config(config)
    return sum(weight.numel() for weight in model.parameters())


def build(shape: Shape, *, seed: int, dtype: torch.dtype = torch.float32, tokens: SpecialIds) -> PreTrainedModel:
    """The model of a shape with fresh weights, in evaluation mode, with our attention for packed rows.

    Weights are drawn in float32 and rounded to `dtype` once; the global random state stays as it was. An encoder or
    decoder takes packed rows, seq2seq only padded ones (its attention has learned distances).

    Raises: ModelError for special tokens outside the vocabulary, or seq2seq without padding.
    """
    _check_ids(shape.dimensions, tokens)
    attention.register()
    config = _config(shape.dimensions, tokens)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        auto_class = AUTO_CLASSES[shape.dimensions.kind]
        model = auto_class.from_config(config, attn_implementation=attention.NAME, dtype=torch.float32)
    if shape.dimensions.kind == "decoder":
        _calm_residuals(model, shape.dimensions.num_layers)
    for weight in model.parameters():  # not model.to: it would round the rotary frequencies too
        weight.data = weight.data.to(dtype)
    if model.can_generate():
        model.generation_config = GenerationConfig(
            do_sample=False,
            bos_token_id=tokens.bos,
            eos_token_id=tokens.eos,
            pad_token_id=tokens.pad,
            decoder_start_token_id=getattr(config, "decoder_start_token_id", None),
        )
    return model.eval()


@torch.no_grad()
def _calm_residuals(model: PreTrainedModel, num_layers: int) -> None:
    """Makes what layers add to the residual stream smaller, so that it does not grow with depth.

    Source: Radford et al. 2019 (GPT-2), one over the root of the number of additions; transformers' ModernBERT does so
    itself.
    """
    for name, weight in model.named_parameters():
        if name.endswith(RESIDUAL_OUTPUTS):
            weight.mul_((2 * num_layers) ** -0.5)


def _config(d: Dimensions, tokens: SpecialIds) -> PreTrainedConfig:
    return {"decoder": _llama, "encoder": _modernbert, "seq2seq": _t5}[d.kind](d, tokens)


def _llama(d: Dimensions, tokens: SpecialIds) -> PreTrainedConfig:
    config = LlamaConfig(
        vocab_size=d.vocabulary,
        hidden_size=d.width,
        intermediate_size=d.intermediate_size,
        num_hidden_layers=d.num_layers,
        num_attention_heads=d.num_heads,
        num_key_value_heads=d.num_key_value_heads,
        head_dim=d.head_size,
        max_position_embeddings=d.context,
        initializer_range=d.initializer_range,
        rms_norm_eps=EPSILON,
        rope_parameters={"rope_type": "default", "rope_theta": d.rope_theta},
        tie_word_embeddings=d.tied,
        **_ids(tokens),
    )
    config.update({"rope_theta": d.rope_theta})  # where readers before transformers 5 look for it
    return config


def _modernbert(d: Dimensions, tokens: SpecialIds) -> PreTrainedConfig:
    angles = {"rope_type": "default", "rope_theta": d.rope_theta}
    config = ModernBertConfig(
        vocab_size=d.vocabulary,
        hidden_size=d.width,
        intermediate_size=d.intermediate_size,
        num_hidden_layers=d.num_layers,
        num_attention_heads=d.num_heads,
        max_position_embeddings=d.context,
        initializer_range=d.initializer_range,
        initializer_cutoff_factor=6.0,  # no cut: the usual 2 draws all weights again until none is beyond
        norm_eps=EPSILON,
        # Every layer sees the whole document: a window is a loss on rows this short.
        layer_types=["full_attention"] * d.num_layers,
        rope_parameters={"full_attention": dict(angles), "sliding_attention": dict(angles)},
        tie_word_embeddings=d.tied,
        cls_token_id=tokens.bos,
        sep_token_id=tokens.eos,
        **_ids(tokens),
    )
    # Where readers before transformers 5 look for the same.
    config.update(
        {"global_attn_every_n_layers": 1, "global_rope_theta": d.rope_theta, "local_rope_theta": d.rope_theta}
    )
    return config


def _t5(d: Dimensions, tokens: SpecialIds) -> PreTrainedConfig:
    more: dict[str, Any] = {  # of every configuration, but not in T5's signature
        "tie_word_embeddings": d.tied,
        "n_positions": d.context,
        "bos_token_id": tokens.bos,
        "decoder_start_token_id": tokens.pad,
    }
    return T5Config(
        vocab_size=d.vocabulary,
        d_model=d.width,
        d_kv=d.head_size,
        d_ff=d.intermediate_size,
        num_layers=d.num_layers,
        num_decoder_layers=d.num_layers,
        num_heads=d.num_heads,
        relative_attention_num_buckets=shapes.RELATIVE_BUCKETS,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,  # T5 1.1: none while pretraining
        eos_token_id=tokens.eos,
        pad_token_id=tokens.pad,
        **more,
    )


def _ids(tokens: SpecialIds) -> dict[str, Any]:
    """The special tokens of a configuration, whose padding is none where it shares its token with begin or end.

    transformers never trains the embedding of the padding token: a model would not learn its own end. Generation pads
    with it all the same.
    """
    is_shared = tokens.pad in (tokens.bos, tokens.eos)
    return {
        "bos_token_id": tokens.bos,
        "eos_token_id": tokens.eos,
        "pad_token_id": None if is_shared else tokens.pad,
    }


def _check_ids(d: Dimensions, tokens: SpecialIds) -> None:
    for name, number in (("bos", tokens.bos), ("eos", tokens.eos), ("pad", tokens.pad)):
        if number is not None and not 0 <= number < d.vocabulary:
            hint = "derive the shape with the size of this tokenizer's vocabulary"
            raise ModelError(f"the {name} token {number} is outside the vocabulary of {d.vocabulary:,}", hint=hint)
    if d.kind == "seq2seq" and tokens.pad is None:
        hint = "train the tokenizer with a padding token"
        raise ModelError("a seq2seq model begins each answer with the padding token, and there is none", hint=hint)


def _initialisation(d: Dimensions) -> tuple[float, str]:
    value = float(f"{d.initializer_range:.3g}")
    if d.kind == "seq2seq":
        return value, "T5's own: width^-0.5 and its like for each matrix, 1 for the embedding"
    return value, "width^-0.5, as in SmolLM2; what layers add, over √(2·layers) (GPT-2)"


def _why_counted(d: Dimensions, num_parameters: int) -> str:
    embedding = d.vocabulary * d.width * (1 if d.tied else 2)
    share = embedding / num_parameters
    advice = "; more than half: fewer words would leave more for layers" if share > 0.5 else ""
    return f"all of them, embeddings {'once' if d.tied else 'and output'}: {embedding:,} or {share:.0%}{advice}"


def _shown(value: shapes.Value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else f"{value:,g}"
