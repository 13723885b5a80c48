from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGUFWriter
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from models import toy_model
from setsail.base.errors import ModelError
from setsail.base.log import Log
from setsail.compress.export import export_gguf
from setsail.models import gguf_file, gguf_model, packaged
from setsail.models.gguf_file import GgufModel
from setsail.models.load import import_base, load_gguf_model, load_model
from setsail.models.pre_tokenizers import PRE_TOKENIZERS, pre_tokenizer_name

QUIET = Log(quiet=True)
IDS = torch.arange(3, 43).reshape(2, 20)
TEXTS = [
    "Hello, world! Don't stop: I'LL go, we'll see.",
    "a  1\t2\n\n 3   \r\n\t x  7",
    "1234567890 12 3.14 1,000,000 ½ ² ٣٤",
    "你好，世界！2026年１１月２２日。中文 and English 混合",
    "def f(x: int) -> str:\n    return f'{x:>10}'  # 100 %\n\n\n",
    "   leading and trailing   ",
    "émigré naïve Ωμέγα 🙂🙂👩‍👩‍👧 \u200b zero\u00a0width",
    "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n",
    "",
]


def export(folder: Path, out: Path, weights: Any = "bf16") -> Path:
    return export_gguf(folder, out, weights, name="toy", licence="mit", log=QUIET)


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits.float()


def altered(gguf: GgufModel, **changes: Any) -> GgufModel:
    metadata = {**gguf.metadata, **{key.replace("__", "."): value for key, value in changes.items()}}
    return GgufModel(gguf.path, metadata, gguf.tensors)


@pytest.mark.parametrize("tie", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
def test_a_gguf_file_is_the_model_it_was_made_from(tmp_path: Path, kind: str, tie: bool) -> None:
    folder = toy_model.write_folder(tmp_path / "hf", kind, tie_word_embeddings=tie)
    path = export(folder, tmp_path / "toy.gguf")
    from_gguf = load_gguf_model(path, torch.float32)
    assert torch.equal(logits(from_gguf), logits(load_model(folder, dtype=torch.float32)))
    assert type(from_gguf).__name__.lower().startswith(kind)


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
def test_an_imported_gguf_is_the_folder_it_was_made_from(tmp_path: Path, kind: str) -> None:
    folder = toy_model.write_folder(tmp_path / "hf", kind)
    info = import_base(str(export(folder, tmp_path / "toy.gguf")), tmp_path / "again", QUIET)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "again", dtype=torch.float32)
    assert torch.equal(logits(again), logits(load_model(folder, dtype=torch.float32)))
    assert info.licence == "mit" and info.context == 256 and info.architecture.lower().startswith(kind)
    ours, theirs = (Tokenizer.from_file(str(path / "tokenizer.json")) for path in (tmp_path / "again", folder))
    assert [ours.encode(text).ids for text in TEXTS] == [theirs.encode(text).ids for text in TEXTS]
    assert (tmp_path / "again" / "chat_template.jinja").read_text() == toy_model.TEMPLATE
    config = json.loads((tmp_path / "again" / "config.json").read_text())
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 10000.0
    assert config["rms_norm_eps"] == 1e-5 and config["eos_token_id"] == 2


@pytest.mark.parametrize("pre", PRE_TOKENIZERS)
def test_every_way_of_cutting_text_survives_the_round_trip(tmp_path: Path, pre: str) -> None:
    folder = toy_model.write_folder(tmp_path / "hf", pre=pre)
    gguf = gguf_file.read(export(folder, tmp_path / "toy.gguf"))
    assert gguf.metadata["tokenizer.ggml.pre"] == pre
    ours, theirs = gguf_model.gguf_tokenizer(gguf), Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert pre_tokenizer_name(ours) == pre
    for text in TEXTS:
        assert ours.encode(text).ids == theirs.encode(text).ids
        assert ours.decode(ours.encode(text).ids, skip_special_tokens=False) == text


def test_rows_of_heads_go_there_and_back() -> None:
    weight = torch.arange(4 * 8 * 3).reshape(32, 3)
    there = gguf_model.to_neighbours(weight, 4)
    assert torch.equal(gguf_model.from_neighbours(there, 4), weight)
    assert there[:4, 0].tolist() == [0, 12, 3, 15]  # channels 0 and 4, a pair of a head of 8, are neighbours now


REFUSALS = {
    "architecture": ({"general__architecture": "mamba"}, "mamba"),
    "rope scaling": ({"llama__rope__scaling__type": "yarn"}, "yarn"),
    "no heads": ({"llama__attention__head_count": 0}, "head_count is 0"),
    "text for a number": ({"llama__block_count": "two"}, "block_count is 'two'"),
    "huge": ({"llama__embedding_length": 2**40}, "embedding_length"),
    "more layers": ({"llama__block_count": 3}, "missing"),
    "fewer layers": ({"llama__block_count": 1}, "left over"),
    "other width": ({"llama__feed_forward_length": 64}, "has shape"),
    "eos outside": ({"tokenizer__ggml__eos_token_id": 999_999}, "eos_token"),
}


@pytest.mark.parametrize(("changes", "reason"), REFUSALS.values(), ids=REFUSALS)
def test_what_is_not_understood_is_refused(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    gguf = gguf_file.read(export(toy_model.write_folder(tmp_path / "hf"), tmp_path / "toy.gguf"))
    with pytest.raises(ModelError, match=reason):
        wrong = altered(gguf, **changes)
        gguf_model.gguf_shapes(wrong, gguf_model.gguf_config(wrong))


TOKENIZER_REFUSALS = {
    "sentencepiece": ({"tokenizer__ggml__model": "llama"}, "llama/smollm"),
    "unknown cut": ({"tokenizer__ggml__pre": "default"}, "gpt2/default"),
    "no merges": ({"tokenizer__ggml__merges": []}, "merges"),
    "strange merge": ({"tokenizer__ggml__merges": ["zz qq"]}, "a merge names"),
    "merge of one": ({"tokenizer__ggml__merges": ["zz"]}, "a merge names"),
    "types": ({"tokenizer__ggml__token_type": [1]}, "token types"),
    "twice": ({"tokenizer__ggml__tokens": ["a", "a"]}, "twice"),
}


@pytest.mark.parametrize(("changes", "reason"), TOKENIZER_REFUSALS.values(), ids=TOKENIZER_REFUSALS)
def test_a_tokenizer_that_is_not_understood_is_refused(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    gguf = gguf_file.read(export(toy_model.write_folder(tmp_path / "hf"), tmp_path / "toy.gguf"))
    with pytest.raises(ModelError, match=reason):
        gguf_model.gguf_tokenizer(altered(gguf, **changes))


def test_a_file_of_metadata_alone_is_refused(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "empty.gguf", "llama")
    writer.add_tensor("x", np.zeros(4, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ModelError, match="token_embd"):
        load_gguf_model(tmp_path / "empty.gguf", torch.float32)


@pytest.mark.slow
def test_the_packaged_tokenizer_cuts_numbers_as_the_model_learned() -> None:
    """Other readers of this file let spaces join the digit after them; llama.cpp and the original tokenizer do not."""
    tokenizer = gguf_model.gguf_tokenizer(gguf_file.read(packaged.locate("smollm2-135m-instruct")))
    assert tokenizer.encode("a  1").tokens == ["a", "ĠĠ", "1"]
    assert tokenizer.encode("in 2026").tokens == ["in", "Ġ", "2", "0", "2", "6"]
    for text in TEXTS:
        assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text
