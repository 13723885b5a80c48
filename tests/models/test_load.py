from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from models import toy_model
from setsail.base.errors import ModelError
from setsail.base.log import Log
from setsail.models import attention
from setsail.models.load import import_base, load_model

QUIET = Log(quiet=True)
IDS = torch.arange(3, 23).unsqueeze(0)


def change_json(file: Path, **changes: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits.float()


@pytest.mark.parametrize("shard", ["1GB", "50KB"])
@pytest.mark.parametrize("tie", [True, False], ids=["tied", "untied"])
def test_a_folder_becomes_one_that_transformers_reads(tmp_path: Path, shard: str, tie: bool) -> None:
    source = toy_model.write_folder(tmp_path / "source", shard=shard, tie_word_embeddings=tie)
    info = import_base(str(source), tmp_path / "out", QUIET)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        *("chat_template.jinja", "config.json", "generation_config.json"),
        *("model.safetensors", "tokenizer.json", "tokenizer_config.json"),
    ]
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    original = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    assert torch.equal(logits(theirs), logits(original))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.eos_token == "<|im_end|>" and tokenizer.chat_template == toy_model.TEMPLATE
    assert info.source.kind == "folder" and info.licence == "not stated"
    assert all(file.stat().st_mode & 0o777 == 0o644 for file in (tmp_path / "out").iterdir())


def test_float32_weights_are_rounded_to_bf16_once(tmp_path: Path) -> None:
    source = toy_model.write_folder(tmp_path / "source")
    weights = {name: tensor.float() + 1e-4 for name, tensor in load_file(source / "model.safetensors").items()}
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    import_base(str(source), tmp_path / "out", QUIET)
    for name, tensor in load_file(tmp_path / "out" / "model.safetensors").items():
        assert torch.equal(tensor, weights[name].to(torch.bfloat16)), name


def test_a_template_inside_the_settings_moves_to_its_own_file(tmp_path: Path) -> None:
    source = toy_model.write_folder(tmp_path / "source")
    (source / "chat_template.jinja").unlink()
    named = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "yes"}]
    change_json(
        source / "tokenizer_config.json", chat_template=named, eos_token={"content": "<|im_end|>", "lstrip": False}
    )
    import_base(str(source), tmp_path / "out", QUIET)
    settings = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert (tmp_path / "out" / "chat_template.jinja").read_text() == "yes"
    assert "chat_template" not in settings and settings["eos_token"] == "<|im_end|>"


def test_the_licence_of_the_card_is_kept(tmp_path: Path) -> None:
    source = toy_model.write_folder(tmp_path / "source")
    (source / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\n---\n# Toy\n")
    assert import_base(str(source), tmp_path / "out", QUIET).licence == "apache-2.0"


def test_loading_gives_our_attention_in_the_dtype_asked_for(tmp_path: Path) -> None:
    folder = toy_model.write_folder(tmp_path)
    for dtype in (torch.float32, torch.bfloat16):
        model = load_model(folder, dtype=dtype)
        assert {parameter.dtype for parameter in model.parameters()} == {dtype}
        assert model.config._attn_implementation == attention.NAME and not model.training


REFUSALS = {
    "code": ({"auto_map": {"AutoModelForCausalLM": "evil.Model"}}, "never run"),
    "quantised": ({"quantization_config": {"quant_method": "gptq"}}, "quantised already"),
    "unknown": ({"model_type": "no_such_model"}, "no_such_model"),
    "images": ({"model_type": "vit"}, "does not generate text, nor fill it in"),
    "body": ({"model_type": "bert", "architectures": ["BertModel"]}, r"BertModel\) does not generate text"),
}


@pytest.mark.parametrize(("changes", "reason"), REFUSALS.values(), ids=REFUSALS)
def test_a_configuration_that_cannot_be_trusted_or_used_is_refused(
    tmp_path: Path, changes: dict[str, object], reason: str
) -> None:
    folder = toy_model.write_folder(tmp_path / "source")
    change_json(folder / "config.json", **changes)
    with pytest.raises(ModelError, match=reason):
        load_model(folder, dtype=torch.float32)
    with pytest.raises(ModelError, match=reason):
        import_base(str(folder), tmp_path / "out", QUIET)


def test_code_beside_the_weights_is_never_run(tmp_path: Path) -> None:
    folder = toy_model.write_folder(tmp_path / "source")
    canary = tmp_path / "canary"
    (folder / "evil.py").write_text(f"open({str(canary)!r}, 'w')\n")
    change_json(folder / "config.json", auto_map={"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"})
    with pytest.raises(ModelError, match="never run"):
        load_model(folder, dtype=torch.float32)
    assert not canary.exists()


def test_missing_and_misshapen_tensors_are_named(tmp_path: Path) -> None:
    folder = toy_model.write_folder(tmp_path)
    whole = load_file(folder / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    save_file({k: v for k, v in whole.items() if k != name}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=name):
        load_model(folder, dtype=torch.float32)
    save_file({**whole, name: torch.zeros(3, 3)}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=name):
        load_model(folder, dtype=torch.float32)


def test_a_damaged_weight_file_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    folder = toy_model.write_folder(tmp_path)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(ModelError, match="damaged or cut short"):
        load_model(folder, dtype=torch.float32)


def test_a_folder_without_a_fast_tokenizer_is_told_how_to_get_one(tmp_path: Path) -> None:
    folder = toy_model.write_folder(tmp_path / "source")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"tokenizer\.json is missing") as caught:
        import_base(str(folder), tmp_path / "out", QUIET)
    assert "save_pretrained" in str(caught.value.hint)


@pytest.mark.slow
def test_the_packaged_base_answers(tmp_path: Path) -> None:
    info = import_base("smollm2-135m-instruct", tmp_path, QUIET)
    assert info.num_parameters == 134_515_008 and info.licence == "Apache-2.0" and info.context == 8192
    model, tokenizer = load_model(tmp_path, dtype=torch.bfloat16), AutoTokenizer.from_pretrained(tmp_path)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    ids = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = model.generate(**ids, max_new_tokens=12, do_sample=False)[0, ids["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(answer)
