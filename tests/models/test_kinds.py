"""Which kind of model a folder holds is told by the class that it names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig

from setsail.base.errors import ModelError
from setsail.base.log import Log
from setsail.models.kinds import kind_of
from setsail.models.load import import_base, load_model, read_kind
from setsail.models.new import SpecialIds, build, derive

from . import toy_model


@pytest.mark.parametrize(
    ("family", "architecture", "kind"),
    [
        ("llama", "LlamaForCausalLM", "decoder"),
        ("llama", None, "decoder"),
        ("bert", "BertForMaskedLM", "encoder"),
        ("bert", "BertLMHeadModel", "decoder"),
        ("bert", "BertModel", None),
        ("modernbert", "ModernBertForMaskedLM", "encoder"),
        ("modernbert", None, "encoder"),
        ("t5", "T5ForConditionalGeneration", "seq2seq"),
        ("vit", "ViTModel", None),
    ],
)
def test_the_class_that_is_named_decides(family: str, architecture: str | None, kind: str | None) -> None:
    assert kind_of(AutoConfig.for_model(family, architectures=architecture and [architecture])) == kind


@pytest.mark.parametrize("kind", ["encoder", "seq2seq"])
def test_a_folder_of_another_kind_is_imported_and_loaded(kind: str, tmp_path: Path) -> None:
    shape = derive(kind, "1m", vocabulary=toy_model.NUM_ROWS, context=64)
    made = build(shape, seed=1, dtype=torch.bfloat16, tokens=SpecialIds(0, 1, 2))
    made.save_pretrained(tmp_path / "there")
    toy_model.tokenizer().save(str(tmp_path / "there" / "tokenizer.json"))
    info = import_base(str(tmp_path / "there"), tmp_path / "here", Log(quiet=True))
    assert info.kind == kind and read_kind(tmp_path / "here") == kind
    loaded = load_model(tmp_path / "here", dtype=torch.bfloat16)
    assert type(loaded) is type(made)
    for (name, ours), theirs in zip(loaded.named_parameters(), made.parameters(), strict=True):
        assert torch.equal(ours, theirs), name
    assert (tmp_path / "here" / "generation_config.json").exists() is (kind == "seq2seq")


def test_a_folder_without_a_language_head_is_refused_by_its_class(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert", "architectures": ["BertModel"]}')
    with pytest.raises(ModelError, match=r'a "bert" model \(BertModel\) does not generate text, nor fill it in'):
        read_kind(tmp_path)
