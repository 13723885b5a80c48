"""Tiny random models as whole Hugging Face folders, for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, trainers
from tokenizers.pre_tokenizers import ByteLevel
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from setsail.models import attention
from setsail.models.pre_tokenizers import PRE_TOKENIZERS

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TEXTS = ["the cat sat on the mat", "the dog and the cat", "1 2 3 numbers 12 34", "def f(x): return x", "你好 世界"] * 4
NUM_ROWS = 320


def tokenizer(pre: str = "smollm") -> Tokenizer:
    """A byte-level BPE of 300 tokens, the first three special."""
    made = Tokenizer(models.BPE(ignore_merges=pre == "llama-bpe"))
    made.pre_tokenizer = PRE_TOKENIZERS[pre]()
    made.decoder = decoders.ByteLevel()
    alphabet = sorted(ByteLevel.alphabet())
    special = [AddedToken(text, special=True, normalized=False) for text in SPECIAL]
    made.train_from_iterator(
        TEXTS,
        trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, special_tokens=special, show_progress=False),
    )
    return made


def config(kind: str = "llama", **changes: Any) -> Any:
    """The configuration of a tiny model with grouped keys."""
    sizes: dict[str, Any] = {
        "vocab_size": NUM_ROWS,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
    }
    head = {"head_dim": 32} if kind == "qwen3" else {}
    return AutoConfig.for_model(kind, **{**sizes, **head, **changes})


def model(kind: str = "llama", *, seed: int = 0, dtype: torch.dtype = torch.float32, **changes: Any) -> PreTrainedModel:
    """A tiny random model that uses our attention."""
    attention.register()
    torch.manual_seed(seed)
    made = AutoModelForCausalLM.from_config(config(kind, **changes), attn_implementation=attention.NAME)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.1)  # the usual start is too flat to tell models apart
    return made.to(dtype).eval()


def write_folder(
    folder: Path, kind: str = "llama", *, seed: int = 0, pre: str = "smollm", shard: str = "1GB", **changes: Any
) -> Path:
    """A whole model folder in bf16."""
    model(kind, seed=seed, dtype=torch.bfloat16, **changes).save_pretrained(folder, max_shard_size=shard)
    tokenizer(pre).save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "pad_token": "<|im_end|>"}))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder
