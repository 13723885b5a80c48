"""Training a tokenizer: byte-pair merges learned from texts, written as a folder that every tool loads.

Byte level, so that nothing is ever unknown, in any language. The way of cutting text before the merges is handed in,
since files that leave name it. The invariant: the same texts in the same order give the same tokenizer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import tokenizers
from tokenizers import AddedToken, decoders, models, trainers
from tokenizers.pre_tokenizers import ByteLevel, PreTokenizer

from setsail.base.errors import DataError
from setsail.tokens.tokenizer import CONFIG_FILE, TOKENIZER_FILE, Tokenizer, load

END_OF_TEXT = "<|endoftext|>"
# The marks of a conversation are there from the start, so that the model can be taught to chat later.
SPECIAL_TOKENS = (END_OF_TEXT, "<|im_start|>", "<|im_end|>")
SMALLEST = 256 + len(SPECIAL_TOKENS)


def train_tokenizer(
    texts: Iterable[str], folder: Path, *, vocabulary: int, context: int, pre_tokenizer: PreTokenizer
) -> Tokenizer:
    """Learns `vocabulary` tokens (bytes and special ones included) from the texts and writes them into `folder`.

    Raises:
        DataError: the texts do not hold that many different pieces; or the vocabulary is smaller than the bytes.
    """
    if vocabulary < SMALLEST:
        hint = "a few thousand are usual"
        raise DataError(f"a vocabulary of {vocabulary} cannot hold the {SMALLEST} bytes and special tokens", hint=hint)
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizer
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[AddedToken(text, special=True, normalized=False) for text in SPECIAL_TOKENS],
        initial_alphabet=sorted(ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    learned = backend.get_vocab_size()
    if learned < vocabulary:
        raise DataError(
            f"the texts hold only {learned:,} different pieces, a vocabulary of {vocabulary:,} was asked for",
            hint=f"take base.vocabulary: {learned} or less, or more text",
        )
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / TOKENIZER_FILE))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END_OF_TEXT,
        "pad_token": END_OF_TEXT,
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
    }
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return load(folder)
