from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from models import toy_model
from safetensors.torch import load_file, save_file

from setsail.base.errors import ModelError
from setsail.base.log import Log
from setsail.compress.export import export_gguf, verify_single_rounding, weight_error
from setsail.models import gguf_file
from setsail.models.load import import_base, load_gguf_model, load_model

QUIET = Log(quiet=True)
# Root mean square of what one rounding of normal weights loses: half a step of each format, with room.
LARGEST_ERROR = {"q8_0": 0.01, "q4_0": 0.12, "f16": 1e-3, "bf16": 0.0}


def export(folder: Path, out: Path, weights: Any = "q8_0") -> Path:
    return export_gguf(folder, out, weights, name="Toy", licence="apache-2.0", log=QUIET)


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("weights", LARGEST_ERROR)
@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
def test_every_weight_is_rounded_exactly_once(tmp_path: Path, kind: str, weights: str) -> None:
    folder = toy_model.write_folder(tmp_path / "hf", kind, tie_word_embeddings=False)
    path = export(folder, tmp_path / "toy.gguf", weights)
    assert verify_single_rounding(folder, path) == []
    assert weight_error(folder, path) <= LARGEST_ERROR[weights]
    kinds = {tensor.name: tensor.tensor_type.name for tensor in GGUFReader(path).tensors}
    assert kinds["token_embd.weight"] == kinds["output.weight"] == ("Q8_0" if weights == "q4_0" else weights.upper())
    assert kinds["blk.0.ffn_up.weight"] == weights.upper() and kinds["output_norm.weight"] == "F32"


def test_the_reference_reader_finds_what_every_engine_needs(tmp_path: Path) -> None:
    path = export(toy_model.write_folder(tmp_path / "hf"), tmp_path / "toy.gguf")
    fields = {name: field.contents() for name, field in GGUFReader(path).fields.items()}
    expected = {
        "general.architecture": "llama",
        "general.name": "Toy",
        "general.license": "apache-2.0",
        "llama.block_count": 2,
        "llama.context_length": 256,
        "llama.embedding_length": 64,
        "llama.feed_forward_length": 96,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "llama.rope.dimension_count": 16,
        "llama.rope.freq_base": 10000.0,
        "llama.vocab_size": toy_model.NUM_ROWS,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.padding_token_id": 2,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": toy_model.TEMPLATE,
    }
    assert {key: fields[key] for key in expected} == expected
    tokens, types = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    assert len(tokens) == len(types) == toy_model.NUM_ROWS
    assert tokens[:3] == list(toy_model.SPECIAL) and types[:4] == [3, 3, 3, 1]
    assert tokens[-1] == "[PAD319]" and types[-1] == 5  # rows beyond the tokenizer


def test_quantised_files_compute_nearly_what_the_folder_does(tmp_path: Path) -> None:
    folder = toy_model.write_folder(tmp_path / "hf")
    ids = torch.arange(3, 23).unsqueeze(0)
    with torch.no_grad():
        exact = load_model(folder, dtype=torch.float32)(input_ids=ids).logits
        rounded = load_gguf_model(export(folder, tmp_path / "toy.gguf"), torch.float32)(input_ids=ids).logits
    assert 0 < (rounded - exact).norm() / exact.norm() < 0.05


def test_weights_rounded_twice_are_named(tmp_path: Path) -> None:
    folder = toy_model.write_folder(tmp_path / "hf")
    import_base(str(export(folder, tmp_path / "q4.gguf", "q4_0")), tmp_path / "again", QUIET)
    wrong = verify_single_rounding(folder, export(tmp_path / "again", tmp_path / "q8.gguf", "q8_0"))
    assert "blk.0.ffn_up.weight" in wrong and "blk.1.attn_q.weight" in wrong and "output_norm.weight" not in wrong


def test_a_changed_weight_and_a_flipped_bit_are_named(tmp_path: Path) -> None:
    folder = toy_model.write_folder(tmp_path / "hf")
    path = export(folder, tmp_path / "toy.gguf")
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    tensors = load_file(other / "model.safetensors")
    name = "model.layers.1.self_attn.v_proj.weight"
    save_file({**tensors, name: tensors[name] * 1.5}, other / "model.safetensors", metadata={"format": "pt"})
    assert verify_single_rounding(other, path) == ["blk.1.attn_v.weight"]
    content = bytearray(path.read_bytes())
    content[gguf_file.read(path).tensors["blk.0.ffn_gate.weight"].offset + 5] ^= 1
    path.write_bytes(content)
    assert verify_single_rounding(folder, path) == ["blk.0.ffn_gate.weight"]


def test_rows_of_heads_in_the_wrong_order_are_named(tmp_path: Path) -> None:
    folder = toy_model.write_folder(tmp_path / "hf")
    path = export(folder, tmp_path / "toy.gguf", "bf16")
    tensor = gguf_file.read(path).tensors["blk.0.attn_q.weight"]
    content = np.fromfile(path, np.uint8)
    rows = content[tensor.offset : tensor.offset + tensor.num_bytes].reshape(64, -1)
    rows[:] = rows[[1, 0, *range(2, 64)]]
    content.tofile(path)
    assert verify_single_rounding(folder, path) == ["blk.0.attn_q.weight"]


def test_rows_that_no_block_divides_stay_f16(tmp_path: Path) -> None:
    folder = toy_model.write_folder(tmp_path / "hf", intermediate_size=72)
    path = export(folder, tmp_path / "toy.gguf")
    assert gguf_file.read(path).tensors["blk.0.ffn_down.weight"].kind.name == "F16"
    assert verify_single_rounding(folder, path) == []


def test_an_architecture_without_a_gguf_form_is_refused_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "hf"
    toy_model.write_folder(folder)
    edit_config(folder, model_type="gpt2")
    with pytest.raises(ModelError, match=r'"gpt2" cannot be written as GGUF; supported: llama, qwen2, qwen3'):
        export(folder, tmp_path / "toy.gguf")


def test_a_rope_scaling_is_refused_rather_than_dropped(tmp_path: Path) -> None:
    folder = toy_model.write_folder(tmp_path / "hf")
    edit_config(folder, rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0})
    with pytest.raises(ModelError, match="linear"):
        export(folder, tmp_path / "toy.gguf")


TOKENIZERS = {
    "another cut": lambda whole: whole["pre_tokenizer"]["pretokenizers"].pop(0),
    "numbers in threes": lambda whole: whole["pre_tokenizer"]["pretokenizers"][0].update(individual_digits=False),
    "space before": lambda whole: whole["pre_tokenizer"]["pretokenizers"][1].update(add_prefix_space=True),
    "lower case": lambda whole: whole.update(normalizer={"type": "Lowercase"}),
    "whole words first": lambda whole: whole["model"].update(ignore_merges=True),
    "bytes in reserve": lambda whole: whole["model"].update(byte_fallback=True),
}


@pytest.mark.parametrize("change", TOKENIZERS, ids=TOKENIZERS)
def test_a_tokenizer_that_gguf_cannot_name_is_refused(tmp_path: Path, change: str) -> None:
    folder = toy_model.write_folder(tmp_path / "hf")
    whole = json.loads((folder / "tokenizer.json").read_text())
    TOKENIZERS[change](whole)
    (folder / "tokenizer.json").write_text(json.dumps(whole))
    if change == "another cut":  # without the digits it is gpt-2's, which has a name
        assert gguf_file.read(export(folder, tmp_path / "toy.gguf")).metadata["tokenizer.ggml.pre"] == "gpt-2"
        return
    with pytest.raises(ModelError, match="no name in GGUF"):
        export(folder, tmp_path / "toy.gguf")
    assert [file.name for file in tmp_path.iterdir()] == ["hf"]


def test_a_tokenizer_larger_than_the_model_is_refused(tmp_path: Path) -> None:
    folder = toy_model.write_folder(tmp_path / "hf", vocab_size=288)
    with pytest.raises(ModelError, match="288 rows"):
        export(folder, tmp_path / "toy.gguf")


def test_a_failed_export_leaves_the_old_file_alone(tmp_path: Path) -> None:
    folder = toy_model.write_folder(tmp_path / "hf")
    path = export(folder, tmp_path / "toy.gguf")
    before = path.read_bytes()
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError):
        export(folder, path)
    assert path.read_bytes() == before and sorted(file.name for file in tmp_path.iterdir()) == ["hf", "toy.gguf"]


@pytest.mark.slow
def test_llama_cpp_reads_the_packaged_base_as_we_do(tmp_path: Path) -> None:
    import urllib.request

    import xllamacpp
    from models.test_gguf_model import TEXTS
    from tokenizers import Tokenizer

    import_base("smollm2-135m-instruct", tmp_path / "base", QUIET)
    started = time.perf_counter()
    path = export(tmp_path / "base", tmp_path / "base.gguf", "bf16")
    assert time.perf_counter() - started < 120
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.n_parallel, parameters.n_ctx, parameters.port, parameters.warmup = 1, 256, 0, False
    server = xllamacpp.Server(parameters)

    def post(route: str, body: dict[str, object]) -> dict[str, Any]:
        request = urllib.request.Request(f"{server.listening_address}/{route}", json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)

    tokenizer = Tokenizer.from_file(str(tmp_path / "base" / "tokenizer.json"))
    for text in TEXTS:
        theirs = post("tokenize", {"content": text, "add_special": False, "parse_special": True})["tokens"]
        assert theirs == tokenizer.encode(text).ids, text
    prompt = tokenizer.encode("<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n").ids
    answer = post("completion", {"prompt": prompt, "n_predict": 8, "temperature": 0})["content"]
    ids = torch.tensor([prompt])
    ours = load_gguf_model(path, torch.float32).generate(ids, max_new_tokens=8, do_sample=False)[0, len(prompt) :]
    assert answer == tokenizer.decode(ours.tolist())
