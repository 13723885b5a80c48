"""Training a tokenizer: byte-pair merges learned from texts, written as a folder that every tool loads.

Byte level, so that nothing is ever unknown, in any language. The way of cutting text before the merges is handed in,
since files that leave name it. The invariant: the same texts in the same order give the same tokenizer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import tokenizers
from tokenizers import AddedToken, decoders, models, processors, trainers
from tokenizers.pre_tokenizers import ByteLevel, PreTokenizer

from setsail.base.errors import DataError
from setsail.base.recipe import Kind
from setsail.tokens.tokenizer import CONFIG_FILE, TOKENIZER_FILE, Tokenizer, load

END_OF_TEXT = "<|endoftext|>"
NUM_SENTINELS = 100  # as many as T5 has: spans of a row of some 2,000 tokens


@dataclass(frozen=True)
class Marks:
    """The special tokens of a kind of model: all of them in order, by their role, and those around each text.

    A token that `swallows_space` stands for a word with the space before it, as words have theirs in the vocabulary.
    """

    tokens: tuple[str, ...]
    named: Mapping[str, str]
    around_text: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    swallows_space: str | None = None


MARKS: Mapping[Kind, Marks] = {
    # The marks of a conversation are there from the start, so that the model can be taught to chat later.
    "decoder": Marks((END_OF_TEXT, "<|im_start|>", "<|im_end|>"), {"eos_token": END_OF_TEXT, "pad_token": END_OF_TEXT}),
    "encoder": Marks(
        ("[PAD]", "[CLS]", "[SEP]", "[MASK]"),
        {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"},
        around_text=(("[CLS]",), ("[SEP]",)),
        swallows_space="[MASK]",
    ),
    "seq2seq": Marks(
        ("<pad>", "</s>", *(f"<extra_id_{number}>" for number in range(NUM_SENTINELS))),
        {"pad_token": "<pad>", "eos_token": "</s>"},
        around_text=((), ("</s>",)),
    ),
}


def train_tokenizer(
    texts: Iterable[str],
    folder: Path,
    *,
    vocabulary: int,
    context: int,
    pre_tokenizer: PreTokenizer,
    kind: Kind = "decoder",
) -> Tokenizer:
    """Learns `vocabulary` tokens (bytes and special ones included) from the texts and writes them into `folder`.

    Raises:
        DataError: the texts do not hold that many different pieces; or the vocabulary is smaller than the bytes.
    """
    marks = MARKS[kind]
    smallest = 256 + len(marks.tokens)
    if vocabulary < smallest:
        hint = "a few thousand are usual"
        raise DataError(f"a vocabulary of {vocabulary} cannot hold the {smallest} bytes and special tokens", hint=hint)
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizer
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[
            AddedToken(text, special=True, normalized=False, lstrip=text == marks.swallows_space)
            for text in marks.tokens
        ],
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
    _put_around_texts(backend, marks)
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / TOKENIZER_FILE))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **marks.named,
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
    }
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return load(folder)


def _put_around_texts(backend: tokenizers.Tokenizer, marks: Marks) -> None:
    """Makes the tokenizer put the marks around each text where it is asked to add special tokens."""
    before, after = (" ".join(tokens) for tokens in marks.around_text)
    if before or after:
        backend.post_processor = processors.TemplateProcessing(
            single=f"{before} $A {after}".strip(),
            pair=f"{before} $A {after} $B:1 {after}:1".strip(),
            special_tokens=[
                (token, backend.token_to_id(token)) for token in (*marks.around_text[0], *marks.around_text[1])
            ],
        )
