"""An HF folder written as one GGUF file, and the proof that each of its weights was rounded exactly once.

Reading GGUF and the names of tensors live in models/gguf_*.py. Tensors stream through memory one by one. The invariant:
what GGUF cannot say exactly (a rope scaling, an unknown way of cutting text) is refused, never approximated.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter, LlamaFileType, TokenType
from gguf.quants import dequantize
from safetensors import safe_open
from tokenizers import Tokenizer
from transformers import PreTrainedConfig

from setsail.base.errors import ModelError
from setsail.base.files import flush_file
from setsail.base.log import Log
from setsail.compress.rounding import quantise
from setsail.models import gguf_file
from setsail.models.gguf_model import ARCHITECTURES, gguf_name, permuted_heads, to_neighbours
from setsail.models.load import read_config
from setsail.models.pre_tokenizers import IGNORES_MERGES, pre_tokenizer_name
from setsail.models.safetensors_file import layout_of
from setsail.models.weights import read_json

Weights = Literal["q8_0", "q4_k", "q4_0", "f16", "bf16", "mixed"]
KINDS = {
    "q8_0": GGMLQuantizationType.Q8_0,
    "q4_k": GGMLQuantizationType.Q4_K,
    "q4_0": GGMLQuantizationType.Q4_0,
    "f16": GGMLQuantizationType.F16,
    "bf16": GGMLQuantizationType.BF16,
    "mixed": GGMLQuantizationType.Q8_0,  # where no layer is coarser
}
FILE_TYPES = {
    GGMLQuantizationType.Q8_0: LlamaFileType.MOSTLY_Q8_0,
    GGMLQuantizationType.Q5_0: LlamaFileType.MOSTLY_Q5_0,
    GGMLQuantizationType.Q4_K: LlamaFileType.MOSTLY_Q4_K_S,  # no layer is finer than the others, as in a Q4_K_M
    GGMLQuantizationType.Q4_0: LlamaFileType.MOSTLY_Q4_0,
    GGMLQuantizationType.F16: LlamaFileType.MOSTLY_F16,
    GGMLQuantizationType.BF16: LlamaFileType.MOSTLY_BF16,
}
# What stands in for a kind whose blocks do not divide a row. Of those with blocks of 32, Q5_0 is off by 0.6 times as
# much as Q4_K and takes 22 % more; Q4_0 takes as much and is off by 1.2 times as much, Q8_0 takes 89 % more.
STAND_INS = {GGMLQuantizationType.Q4_K: GGMLQuantizationType.Q5_0}
_LAYER = re.compile(r"(?:^blk|\.layers)\.(\d+)\.")
# Four bits cost the table of words more than they save: in a 4-bit file these two stay at eight.
KEPT_FINER = ("token_embd.weight", "output.weight")
FOUR_BITS = (GGMLQuantizationType.Q4_0, GGMLQuantizationType.Q4_K)
ALIGNMENT = 32


@dataclass(frozen=True)
class _Tensor:
    """One weight on its way: its name in GGUF, where it is read, and how its rows are ordered."""

    name: str
    source: str
    file: Path
    shape: tuple[int, ...]
    num_heads: int

    def read(self) -> np.ndarray:
        """The weight in float32, in GGUF's order."""
        with safe_open(self.file, framework="pt") as file:
            weight = file.get_tensor(self.source).float()
        return (to_neighbours(weight, self.num_heads) if self.num_heads else weight).contiguous().numpy()


def export_gguf(
    folder: Path,
    out: Path,
    weights: Weights,
    *,
    name: str,
    licence: str,
    log: Log,
    coarser: frozenset[int] = frozenset(),
) -> Path:
    """Write the HF folder as the GGUF file `out`; each weight is rounded once, from what stands in the folder.

    The matrices of layers that are `coarser` are rounded to four bits.

    Matrices whose rows the precision's blocks do not divide have another one; that is said.

    Raises: ModelError for an architecture, a rope scaling or a tokenizer that GGUF cannot say exactly, and where no
        matrix can have the precision.
    """
    if not has_room_for(folder, weights):
        raise no_room_for(folder, weights)
    config = read_config(folder)
    architecture = _check_exportable(config, folder)
    tensors = _tensors(folder, config)
    kinds = {tensor.name: _kind_for(tensor.name, tensor.shape, KINDS[weights], coarser) for tensor in tensors}
    _say_stand_ins(tensors, kinds, weights, log)
    beside = out.with_name(f".{out.name}.partial")
    writer = GGUFWriter(beside, architecture)
    writer.add_type("model")
    writer.add_name(name)
    writer.add_license(licence)
    writer.add_file_type(_file_type(tensors, kinds))
    writer.add_quantization_version(2)
    _add_shape(writer, config)
    _add_tokenizer(writer, folder, config)
    for tensor in tensors:
        num_bytes = _num_bytes(tensor.shape, kinds[tensor.name])
        writer.add_tensor_info(tensor.name, tensor.shape, np.dtype(np.float32), num_bytes, kinds[tensor.name])
    try:
        _write(writer, tensors, kinds, log=log)
        flush_file(beside)
        os.replace(beside, out)
    finally:
        writer.close()
        beside.unlink(missing_ok=True)
    return out


def verify_single_rounding(folder: Path, path: Path) -> list[str]:
    """Names of the tensors of a GGUF file that are not exactly the one-step rounding of the folder's weights.

    Weights rounded twice, an adapter left out, a damaged or missing tensor: each is named. An empty list is the proof.
    """
    gguf = gguf_file.read(path)
    tensors = {tensor.name: tensor for tensor in _tensors(folder, read_config(folder))}
    wrong = set(gguf.tensors) ^ set(tensors)
    for name in gguf.tensors.keys() & tensors.keys():
        stored, source = gguf.tensors[name], tensors[name]
        if stored.shape != source.shape or not np.array_equal(gguf.raw(name), _stored(source.read(), stored.kind)):
            wrong.add(name)
    return sorted(wrong)


def weight_error(folder: Path, path: Path) -> float:
    """How far a file's matrices lie from the folder's: root mean square of the difference over that of the weights."""
    gguf = gguf_file.read(path)
    squares, errors = 0.0, 0.0
    for tensor in _tensors(folder, read_config(folder)):
        if len(tensor.shape) < 2:
            continue
        weight = tensor.read()
        squares += float(np.square(weight).sum(dtype=np.float64))
        errors += float(np.square(weight - gguf.dequantised(tensor.name)).sum(dtype=np.float64))
    return math.sqrt(errors / squares) if squares else 0.0


def _check_exportable(config: PreTrainedConfig, folder: Path) -> str:
    architecture = str(config.model_type)
    place = str(folder / "config.json")
    if architecture not in ARCHITECTURES:
        supported = ", ".join(ARCHITECTURES)
        hint = "write safetensors instead (export.format: safetensors), or use llama.cpp's own converter"
        raise ModelError(f'"{architecture}" cannot be written as GGUF; supported: {supported}', place=place, hint=hint)
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type", "default") != "default":
        hint = "write safetensors instead (export.format: safetensors)"
        raise ModelError(f'its rope scaling "{rope["rope_type"]}" cannot be written as GGUF', place=place, hint=hint)
    if getattr(config, "use_sliding_window", False):
        raise ModelError("its sliding window cannot be written as GGUF", place=place)
    return architecture


def _tensors(folder: Path, config: PreTrainedConfig) -> list[_Tensor]:
    """Every weight of the folder under its name in GGUF; a tied output is left out."""
    architecture, num_layers = str(config.model_type), config.num_hidden_layers
    tensors = []
    for source, (file, shape, _) in layout_of(folder).items():
        if source == "lm_head.weight" and config.tie_word_embeddings:
            continue
        name = gguf_name(architecture, num_layers, source)
        if name == source:
            raise ModelError(f'tensor "{source}" has no name in GGUF', place=str(file))
        heads = permuted_heads(architecture, config, source)
        tensors.append(_Tensor(name, source, file, tuple(shape), heads))
    return tensors


def _add_shape(writer: GGUFWriter, config: PreTrainedConfig) -> None:
    heads = config.num_attention_heads
    head_size = getattr(config, "head_dim", None) or config.hidden_size // heads
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(head_size)
    writer.add_vocab_size(config.vocab_size)
    if config.model_type == "qwen3" or head_size * heads != config.hidden_size:
        writer.add_key_length(head_size)
        writer.add_value_length(head_size)


def _add_tokenizer(writer: GGUFWriter, folder: Path, config: PreTrainedConfig) -> None:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    pre, merges = _byte_level_bpe(tokenizer, folder)
    tokens, types = _vocabulary(tokenizer, config.vocab_size, folder)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    settings = read_json(folder / "tokenizer_config.json")
    adders = {
        "bos_token": writer.add_bos_token_id,
        "eos_token": writer.add_eos_token_id,
        "pad_token": writer.add_pad_token_id,
        "unk_token": writer.add_unk_token_id,
    }
    for token, add in adders.items():
        number = _special_id(token, settings, tokenizer, config=config)
        if number is not None:
            add(number)
    template = folder / "chat_template.jinja"
    if template.is_file():
        writer.add_chat_template(template.read_text(encoding="utf-8"))


def _byte_level_bpe(tokenizer: Tokenizer, folder: Path) -> tuple[str, list[str]]:
    """The GGUF name of the way of cutting text, and the merges.

    Raises: ModelError when the tokenizer is another kind, or does what GGUF has no word for.
    """
    whole = json.loads(tokenizer.to_str())
    model, normalizer = whole["model"], whole["normalizer"]
    pre = pre_tokenizer_name(tokenizer)
    is_plain = model["type"] == "BPE" and not model.get("byte_fallback") and not model.get("dropout")
    is_known = pre is not None and bool(model.get("ignore_merges")) == (pre in IGNORES_MERGES)
    if not is_plain or not is_known or pre is None or normalizer not in (None, {"type": "NFC"}):
        raise ModelError(
            "its tokenizer cuts text in a way that has no name in GGUF",
            place=str(folder / "tokenizer.json"),
            hint="write safetensors instead (export.format: safetensors), or use llama.cpp's own converter",
        )
    return pre, [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]


def _vocabulary(tokenizer: Tokenizer, num_rows: int, folder: Path) -> tuple[list[str], list[int]]:
    """Every token in the order of the embedding's rows; rows without a token get a name and are marked unused."""
    by_id = {number: token for token, number in tokenizer.get_vocab(with_added_tokens=True).items()}
    if max(by_id) >= num_rows:
        what = f"it has a token number {max(by_id)}, the model has {num_rows} rows"
        raise ModelError(what, place=str(folder / "tokenizer.json"))
    added = tokenizer.get_added_tokens_decoder()
    tokens, types = [], []
    for number in range(num_rows):
        tokens.append(by_id.get(number, f"[PAD{number}]"))
        if number not in by_id:
            types.append(int(TokenType.UNUSED))
        elif number in added:
            types.append(int(TokenType.CONTROL if added[number].special else TokenType.USER_DEFINED))
        else:
            types.append(int(TokenType.NORMAL))
    return tokens, types


def _special_id(token: str, settings: dict[str, Any], tokenizer: Tokenizer, *, config: PreTrainedConfig) -> int | None:
    """The id of bos, eos, pad or unk: by its text in tokenizer_config.json, else by its id in config.json."""
    text = settings.get(token)
    text = text.get("content") if isinstance(text, dict) else text
    if isinstance(text, str):
        return tokenizer.token_to_id(text)
    number = getattr(config, f"{token}_id", None)
    return number[0] if isinstance(number, list) else number


def _kind_for(
    name: str, shape: Sequence[int], kind: GGMLQuantizationType, coarser: frozenset[int] = frozenset()
) -> GGMLQuantizationType:
    """Vectors stay float32; a row that no block divides stays f16, as other writers of GGUF do."""
    if len(shape) < 2:
        return GGMLQuantizationType.F32
    layer = layer_of(name)
    if layer is not None and layer in coarser:
        kind = GGMLQuantizationType.Q4_0
    if kind in FOUR_BITS and name in KEPT_FINER:
        kind = GGMLQuantizationType.Q8_0
    if shape[-1] % GGML_QUANT_SIZES[kind][0]:
        kind = STAND_INS.get(kind, GGMLQuantizationType.F16)
    return kind if shape[-1] % GGML_QUANT_SIZES[kind][0] == 0 else GGMLQuantizationType.F16


def _say_stand_ins(
    tensors: Sequence[_Tensor], kinds: dict[str, GGMLQuantizationType], weights: Weights, log: Log
) -> None:
    """Which matrices of the layers have another kind than was asked for, since their rows do not fit its blocks."""
    asked = KINDS[weights]
    matrices = [tensor for tensor in tensors if len(tensor.shape) > 1 and layer_of(tensor.name) is not None]
    block = GGML_QUANT_SIZES[asked][0]
    others = [tensor for tensor in matrices if tensor.shape[-1] % block]
    if others:
        sizes = ", ".join(sorted({str(tensor.shape[-1]) for tensor in others}))
        stand_ins = " and ".join(sorted({kinds[tensor.name].name.lower() for tensor in others}))
        log.say(
            f"  {len(others)} of {len(matrices)} matrices are {stand_ins}: {asked.name.lower()} has blocks of {block} "
            f"weights, which do not divide their rows of {sizes}"
        )


def _file_type(tensors: Sequence[_Tensor], kinds: dict[str, GGMLQuantizationType]) -> LlamaFileType:
    """What a file says that it mostly is: the kind of most of its layers' weights."""
    weights: Counter[GGMLQuantizationType] = Counter()
    for tensor in tensors:
        if len(tensor.shape) > 1 and layer_of(tensor.name) is not None:
            weights[kinds[tensor.name]] += math.prod(tensor.shape)
    return FILE_TYPES[weights.most_common(1)[0][0]]


def has_room_for(folder: Path, weights: Weights) -> bool:
    """Whether any matrix of a model's layers can have this precision, where its blocks are longer than 32 weights."""
    if KINDS[weights] not in STAND_INS:
        return True
    block = GGML_QUANT_SIZES[KINDS[weights]][0]
    layers = (shape for name, (_, shape, _) in layout_of(folder).items() if layer_of(name) is not None)
    return any(len(shape) > 1 and shape[-1] % block == 0 for shape in layers)


def no_room_for(folder: Path, weights: Weights) -> ModelError:
    """The refusal of a precision that no matrix could have."""
    config = read_config(folder)
    what = f"rows of {config.hidden_size} and {config.intermediate_size} weights"
    return ModelError(
        f"{weights} has blocks of {GGML_QUANT_SIZES[KINDS[weights]][0]} weights, which divide no matrix's rows: {what}",
        place=str(folder),
        hint="export q4_0 or q8_0, whose blocks have 32",
    )


def layer_of(name: str) -> int | None:
    """The layer that a weight belongs to, by its name in GGUF or in a model folder; None for those of no layer.

    >>> layer_of("blk.7.ffn_up.weight"), layer_of("model.layers.7.mlp.up_proj.weight"), layer_of("output.weight")
    (7, 7, None)
    """
    found = _LAYER.search(name)
    return int(found[1]) if found else None


def as_stored(weight: np.ndarray, weights: Weights) -> tuple[np.ndarray, int]:
    """A matrix of some layer as a file of this precision gives it back, in float32, and its bytes there."""
    kind = _kind_for("", weight.shape, KINDS[weights])
    stored = quantise(weight, kind)
    return dequantize(stored, kind), stored.nbytes


def _num_bytes(shape: tuple[int, ...], kind: GGMLQuantizationType) -> int:
    block_elements, block_bytes = GGML_QUANT_SIZES[kind]
    return math.prod(shape) // block_elements * block_bytes


def _stored(weight: np.ndarray, kind: GGMLQuantizationType) -> np.ndarray:
    """A weight's bytes as `kind` stores them, rounded in one step."""
    stored = weight if kind == GGMLQuantizationType.F32 else quantise(weight, kind)
    return np.ascontiguousarray(stored).view(np.uint8).reshape(-1)


def _write(writer: GGUFWriter, tensors: list[_Tensor], kinds: dict[str, GGMLQuantizationType], *, log: Log) -> None:
    """Header, then the weights one by one, each at a multiple of the alignment."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    assert writer.fout is not None
    file = writer.fout[0]
    with log.progress(f"writing {writer.path}", len(tensors)) as progress:
        file.write(bytes(-file.tell() % ALIGNMENT))
        for tensor in tensors:
            file.write(_stored(tensor.read(), kinds[tensor.name]).data)
            file.write(bytes(-file.tell() % ALIGNMENT))
            progress.advance()
    file.flush()
