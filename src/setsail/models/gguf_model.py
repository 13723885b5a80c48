"""What a GGUF file means for transformers: its configuration, its weights under their usual names, its tokenizer.

Reading the container lives in gguf_file.py, writing one in compress/export.py. The invariant: whatever is not
understood exactly (an architecture, a rope scaling, a tokenizer) is refused by name; nothing falls back to a default.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from gguf import MODEL_ARCH, TensorNameMap, get_tensor_name_map
from tokenizers import AddedToken, Tokenizer, decoders, normalizers
from tokenizers.models import BPE
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig

from setsail.base.errors import ModelError
from setsail.models.gguf_file import GgufModel
from setsail.models.pre_tokenizers import IGNORES_MERGES, PRE_TOKENIZERS

# GGUF's name of an architecture is transformers' model type for these three.
ARCHITECTURES = {"llama": MODEL_ARCH.LLAMA, "qwen2": MODEL_ARCH.QWEN2, "qwen3": MODEL_ARCH.QWEN3}
# llama.cpp pairs channels for RoPE as neighbours where transformers pairs halves: rows of q and k lie in another order.
PERMUTED_ARCHITECTURES = ("llama",)
CONTROL, USER_DEFINED = 3, 4
USE_FOLDER = "use the model's Hugging Face folder (config.json and safetensors) as the base instead"


def gguf_config(gguf: GgufModel) -> PreTrainedConfig:
    """The transformers configuration that a GGUF file describes."""
    architecture = _check_readable(gguf)
    heads, hidden = _whole(gguf, "attention.head_count"), _whole(gguf, "embedding_length")
    ids = special_ids(gguf)
    config = AutoConfig.for_model(
        architecture,
        hidden_size=hidden,
        intermediate_size=_whole(gguf, "feed_forward_length"),
        num_hidden_layers=_whole(gguf, "block_count"),
        num_attention_heads=heads,
        num_key_value_heads=_whole(gguf, "attention.head_count_kv", heads),
        head_dim=_whole(gguf, "attention.key_length", hidden // heads),
        max_position_embeddings=_whole(gguf, "context_length"),
        rms_norm_eps=_real(gguf, "attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": _real(gguf, "rope.freq_base", 10000.0)},
        vocab_size=gguf.tensors["token_embd.weight"].shape[0],
        tie_word_embeddings="output.weight" not in gguf.tensors,
        **_attention_bias(gguf),
        bos_token_id=ids.get("bos_token"),
        eos_token_id=ids.get("eos_token"),
        pad_token_id=ids.get("pad_token"),
    )
    config.architectures = [type(skeleton(config)).__name__]
    return config


def skeleton(config: PreTrainedConfig) -> torch.nn.Module:
    """The model that a configuration means, without memory for weights."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def gguf_shapes(gguf: GgufModel, config: PreTrainedConfig) -> dict[str, tuple[int, ...]]:
    """Every weight of the model by the name that transformers gives it, with its shape.

    Raises: ModelError when a weight is missing in the file, has another shape there, or is left over.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in skeleton(config).state_dict().items()}
    if config.tie_word_embeddings:
        shapes.pop("lm_head.weight", None)
    places = {name: gguf_name(gguf.architecture, config.num_hidden_layers, name) for name in shapes}
    missing = sorted(place for place in places.values() if place not in gguf.tensors)
    extra = sorted(set(gguf.tensors) - set(places.values()))
    if missing or extra:
        raise ModelError(
            f"its tensors are not those of a {gguf.architecture} model: missing {missing[:5]}, left over {extra[:5]}",
            place=str(gguf.path),
            hint=USE_FOLDER,
        )
    for name, place in places.items():
        if gguf.tensors[place].shape != shapes[name]:
            what = f'tensor "{place}" has shape {gguf.tensors[place].shape}, the header means {shapes[name]}'
            raise ModelError(what, place=str(gguf.path))
    return shapes


def gguf_tensor(gguf: GgufModel, config: PreTrainedConfig, name: str) -> torch.Tensor:
    """One weight in float32, under transformers' name and in its order."""
    weight = torch.tensor(gguf.dequantised(gguf_name(gguf.architecture, config.num_hidden_layers, name)))
    num_heads = permuted_heads(gguf.architecture, config, name)
    return from_neighbours(weight, num_heads) if num_heads else weight


def gguf_name(architecture: str, num_layers: int, name: str) -> str:
    """The name in GGUF of a weight that transformers calls `name`; the same name when GGUF has none."""
    return _name_map(architecture, num_layers).get_name(name, try_suffixes=(".weight", ".bias")) or name


@lru_cache(maxsize=4)
def _name_map(architecture: str, num_layers: int) -> TensorNameMap:
    return get_tensor_name_map(ARCHITECTURES[architecture], num_layers)


def permuted_heads(architecture: str, config: PreTrainedConfig, name: str) -> int:
    """How many heads a weight's rows are reordered by, 0 for a weight that is stored as it is."""
    if architecture not in PERMUTED_ARCHITECTURES:
        return 0
    if ".q_proj." in name:
        return config.num_attention_heads
    return config.num_key_value_heads if ".k_proj." in name else 0


def from_neighbours(weight: torch.Tensor, num_heads: int) -> torch.Tensor:
    """Rows in GGUF's order (pairs are neighbours) → transformers' order (pairs are half a head apart)."""
    return weight.unflatten(0, (num_heads, -1, 2)).transpose(1, 2).reshape(weight.shape)


def to_neighbours(weight: torch.Tensor, num_heads: int) -> torch.Tensor:
    """The inverse of `from_neighbours`."""
    return weight.unflatten(0, (num_heads, 2, -1)).transpose(1, 2).reshape(weight.shape)


def gguf_tokenizer(gguf: GgufModel) -> Tokenizer:
    """The byte-level BPE tokenizer of a GGUF file.

    Raises: ModelError for another kind of tokenizer, or a way of cutting text that is not in our table.
    """
    kind, pre = gguf.metadata.get("tokenizer.ggml.model"), gguf.metadata.get("tokenizer.ggml.pre")
    if kind != "gpt2" or pre not in PRE_TOKENIZERS:
        known = ", ".join(f"gpt2/{name}" for name in PRE_TOKENIZERS)
        raise ModelError(f"its tokenizer is {kind}/{pre}, readable are {known}", place=str(gguf.path), hint=USE_FOLDER)
    tokens, merges = _texts(gguf, "tokens"), [tuple(merge.split(" ", 1)) for merge in _texts(gguf, "merges")]
    kinds = gguf.metadata.get("tokenizer.ggml.token_type") or [1] * len(tokens)
    vocabulary = {token: number for number, token in enumerate(tokens)}
    _check_vocabulary(gguf, tokens, merges, vocabulary=vocabulary, num_kinds=len(kinds))
    tokenizer = Tokenizer(BPE(vocabulary, merges, ignore_merges=pre in IGNORES_MERGES))  # pyright: ignore
    tokenizer.pre_tokenizer = PRE_TOKENIZERS[pre]()
    tokenizer.decoder = decoders.ByteLevel()
    if pre == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    added = [(token, kind) for token, kind in zip(tokens, kinds, strict=True) if kind in (CONTROL, USER_DEFINED)]
    tokenizer.add_tokens([AddedToken(token, special=kind == CONTROL, normalized=False) for token, kind in added])
    return tokenizer


def special_ids(gguf: GgufModel) -> dict[str, int]:
    """The ids that the file gives to bos, eos, pad and unk, under transformers' names of them."""
    keys = {"bos_token": "bos", "eos_token": "eos", "pad_token": "padding", "unk_token": "unknown"}
    found = {name: gguf.metadata.get(f"tokenizer.ggml.{key}_token_id") for name, key in keys.items()}
    num_tokens = len(_texts(gguf, "tokens"))
    ids = {name: value for name, value in found.items() if isinstance(value, int)}
    for name, value in ids.items():
        if not 0 <= value < num_tokens:
            raise ModelError(f"its {name} is number {value} of {num_tokens} tokens", place=str(gguf.path))
    return ids


def special_tokens(gguf: GgufModel) -> dict[str, str]:
    """bos, eos, pad and unk as text."""
    tokens = _texts(gguf, "tokens")
    return {name: tokens[number] for name, number in special_ids(gguf).items()}


def _attention_bias(gguf: GgufModel) -> dict[str, bool]:
    """Whether attention has biases, for the families that can be built either way; qwen2 always has them."""
    return {} if gguf.architecture == "qwen2" else {"attention_bias": "blk.0.attn_q.bias" in gguf.tensors}


def _check_readable(gguf: GgufModel) -> str:
    architecture = gguf.architecture
    if architecture not in ARCHITECTURES:
        supported = ", ".join(ARCHITECTURES)
        message = f'its architecture is "{architecture}", readable from GGUF are {supported}'
        raise ModelError(message, place=str(gguf.path), hint=USE_FOLDER)
    scaling = gguf.metadata.get(f"{architecture}.rope.scaling.type", "none")
    if scaling != "none" or "rope_freqs.weight" in gguf.tensors:
        raise ModelError(f'its rope scaling ("{scaling}") cannot be read', place=str(gguf.path), hint=USE_FOLDER)
    if "token_embd.weight" not in gguf.tensors:
        raise ModelError('it has no tensor "token_embd.weight"', place=str(gguf.path))
    return architecture


def _whole(gguf: GgufModel, key: str, default: int | None = None) -> int:
    value = gguf.metadata.get(f"{gguf.architecture}.{key}", default)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**31:
        raise ModelError(f"its {gguf.architecture}.{key} is {value!r}, not a positive number", place=str(gguf.path))
    return value


def _real(gguf: GgufModel, key: str, default: float | None = None) -> float:
    value = gguf.metadata.get(f"{gguf.architecture}.{key}", default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1e12:
        raise ModelError(f"its {gguf.architecture}.{key} is {value!r}, not a positive number", place=str(gguf.path))
    # GGUF keeps float32: 1e-5 comes back as 9.999999747378752e-06. The shortest decimal that rounds to it is what was
    # meant.
    return float(f"{value:.7g}")


def _texts(gguf: GgufModel, key: str) -> list[str]:
    values = gguf.metadata.get(f"tokenizer.ggml.{key}")
    if not isinstance(values, list) or not values or not isinstance(values[0], str):
        raise ModelError(f"it has no tokenizer.ggml.{key}", place=str(gguf.path), hint=USE_FOLDER)
    return values


def _check_vocabulary(
    gguf: GgufModel, tokens: list[str], merges: list[tuple[str, ...]], *, vocabulary: dict[str, int], num_kinds: int
) -> None:
    what = None
    if len(vocabulary) != len(tokens):
        what = "a token stands twice in its vocabulary"
    elif num_kinds != len(tokens):
        what = f"it has {len(tokens)} tokens but {num_kinds} token types"
    elif len(tokens) > gguf.tensors["token_embd.weight"].shape[0]:
        what = f"it has {len(tokens)} tokens but fewer embeddings"
    elif any(len(merge) != 2 or not {*merge, "".join(merge)} <= vocabulary.keys() for merge in merges):
        what = "a merge names a token that is not in its vocabulary"
    if what:
        raise ModelError(what, place=str(gguf.path))
