"""Tiny real tokenizers for tests: a byte-level BPE with the control tokens of every packaged template, and one in the
manner of SentencePiece (a space before every text, bytes as tokens of last resort).
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

SPECIAL = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    *("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    *("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>", "<s>", "</s>", "[INST]", "[/INST]"),
)
# bos and eos that the family of each packaged template has.
NAMED = {
    "chatml": ("<|im_start|>", "<|im_end|>"),
    "llama3": ("<|begin_of_text|>", "<|eot_id|>"),
    "gemma": ("<bos>", "<eos>"),
    "mistral": ("<s>", "</s>"),
    "plain": (None, "<|endoftext|>"),
}
CORPUS = [
    "The quick brown fox jumps over the lazy dog. User: hello there! Assistant: how can I help you today?\n\n",
    "user\nsystem\nassistant\nmodel\n numpy.dot returns the dot product of two arrays; im_start im_end start end turn",
    "启航：从你自己的数据到一个为你工作的大模型，每一步都有证明。你好，世界。😀🚀 café naïve",
] * 20


@lru_cache(maxsize=1)
def byte_level() -> str:
    """The tokenizer.json of a byte-level BPE of 600 tokens."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(CORPUS, trainer)
    backend.add_tokens([AddedToken(mark, normalized=False) for mark in ("<think>", "</think>")])
    return backend.to_str()


@lru_cache(maxsize=1)
def sentencepiece_like() -> str:
    """The tokenizer.json of a BPE that puts a space before every text and falls back to bytes."""
    backend = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=special, show_progress=False)
    backend.train_from_iterator([text for line in CORPUS[:2] for text in line.split()], trainer)
    config = json.loads(backend.to_str())
    config["added_tokens"] = config["added_tokens"][:3]  # bytes are ordinary tokens
    return json.dumps(config)


def write_folder(
    folder: Path,
    tokenizer_json: str,
    *,
    bos: str | None = None,
    eos: str | None = "<|im_end|>",
    template: str | None = None,
    generation_eos: int | list[int] | None = None,
) -> Path:
    """A tokenizer folder as `save_pretrained` would leave it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(tokenizer_json, encoding="utf-8")
    named = {"bos_token": bos, "eos_token": eos}
    config = {name: token for name, token in named.items() if token is not None}
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    if template is not None:
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    if generation_eos is not None:
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": generation_eos}), encoding="utf-8")
    return folder
