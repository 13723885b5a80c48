"""Tiny random encoders as whole Hugging Face folders, for tests."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoConfig, AutoModelForMaskedLM

SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]")
_WORDS = (
    "the parcel came late broken box invoice wrong sum refund login password app crash again please help my order is"
    " 快 递 坏 了 发 票 错 误 登 录 不 上 退 款 好 ! , 0 1 2 3 4 5 6 7 8 9 ##0 ##1 ##2 ##3 ##4 ##5 ##6 ##7 ##8 ##9"
)
KINDS: dict[str, dict[str, Any]] = {
    "bert": {},
    "roberta": {"pad_token_id": 0, "type_vocab_size": 1, "max_position_embeddings": 65},
    "xlm-roberta": {"pad_token_id": 0, "type_vocab_size": 1, "max_position_embeddings": 65},
    "electra": {"embedding_size": 24},
    "distilbert": {"dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 4},
    "modernbert": {"local_attention": 6, "global_attn_every_n_layers": 2, "classifier_pooling": "mean"},
}
IDS = {"pad_token_id": 0, "cls_token_id": 1, "bos_token_id": 1, "sep_token_id": 2, "eos_token_id": 2}


def tokenizer(words: Iterable[str] = tuple(_WORDS.split())) -> Tokenizer:
    """A WordPiece of a few words and of Chinese characters, with [CLS] and [SEP] around each text."""
    vocabulary = {word: index for index, word in enumerate([*SPECIAL, *dict.fromkeys(words)])}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    made.decoder = decoders.WordPiece()
    made.add_special_tokens(list(SPECIAL))
    return made


def config(kind: str = "bert", **changes: Any) -> Any:
    """The configuration of a tiny encoder, with the dropout that encoders come with."""
    sizes: dict[str, Any] = {
        "vocab_size": tokenizer().get_vocab_size(),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
        **IDS,
    }
    return AutoConfig.for_model(kind, **{**sizes, **KINDS[kind], **changes})


def write_folder(folder: Path, kind: str = "bert", *, seed: int = 0, **changes: Any) -> Path:
    """A masked language model of that kind with its tokenizer, which pads and cuts as some in the wild do."""
    torch.manual_seed(seed)
    model = AutoModelForMaskedLM.from_config(config(kind, **changes))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.add_(torch.randn(weight.shape) * (0.3 if "embeddings" in name else 0.1))
    model.save_pretrained(folder)
    made = tokenizer()
    made.enable_truncation(16)
    made.enable_padding(length=16, pad_token="[PAD]")
    made.save(str(folder / "tokenizer.json"))
    named = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **named, "mask_token": "[MASK]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@torch.no_grad()
def lively(model: Any) -> Any:
    """The model with a head that tells documents apart; the usual start is too flat to tell models apart."""
    generator = torch.Generator().manual_seed(7)
    for name, weight in model.named_parameters():
        if not name.startswith(f"{model.base_model_prefix}.") or "pooler" in name:
            weight.add_((torch.randn(weight.shape, generator=generator) * 0.3).to(weight.dtype))
    return model
