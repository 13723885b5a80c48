"""Training a byte-level BPE tokenizer: merges learned from texts, written as a folder that every tool loads.

Byte level, so that nothing is ever unknown, in any language. The way of cutting text before the merges is handed in,
since files that leave name it. Counting words and learning merges is `words.py`; the other kinds are `pieces.py`; what
size to take is `size.py`. The invariants: the same texts in the same order give the same tokenizer, with a compiler or
without; a smaller vocabulary of the same texts is the beginning of a larger one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import AddedToken, decoders, models, processors, trainers
from tokenizers.pre_tokenizers import ByteLevel, PreTokenizer

from setsail.base.compiled import why_not_compiled
from setsail.base.errors import DataError
from setsail.base.recipe import Kind
from setsail.tokens.tokenizer import BYTE_OF, CONFIG_FILE, TOKENIZER_FILE, Tokenizer, load
from setsail.tokens.words import SOURCE, Merge, count_words, learn_merges

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


@dataclass(frozen=True)
class Bpe:
    """What was learned: the tokens by number, special ones first, and the merges in their order."""

    tokens: tuple[str, ...]
    merges: tuple[Merge, ...]

    def cut(self, size: int) -> Bpe:
        """What would have been learned for a smaller vocabulary."""
        made = next((at for at, (_, _, made) in enumerate(self.merges) if made >= size), len(self.merges))
        return Bpe(self.tokens[:size], self.merges[:made])


def marks_of(kind: Kind, more: Sequence[str] = ()) -> Marks:
    """The special tokens of a kind of model, and what a recipe adds to them."""
    return with_tokens(MARKS[kind], more)


def with_tokens(marks: Marks, more: Sequence[str]) -> Marks:
    """Marks with more special tokens. Raises: DataError for one named twice."""
    every = (*marks.tokens, *more)
    twice = next((token for token in every if every.count(token) > 1), None)
    if twice is not None:
        known = ", ".join(marks.tokens[:5])
        raise DataError(
            f'the special token "{twice}" stands there twice', place="tokenizer.special_tokens", hint=f"made: {known}"
        )
    return replace(marks, tokens=every)


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
    learned = learn_bpe(texts, marks, vocabulary=vocabulary, pre_tokenizer=pre_tokenizer)
    refuse_fewer(len(learned.tokens), vocabulary)
    return write_tokenizer(bpe_backend(learned, marks, pre_tokenizer), marks, folder, context=context)


def refuse_fewer(learned: int, vocabulary: int) -> None:
    """Raises: DataError where the texts did not hold as many tokens as were asked for."""
    if learned < vocabulary:
        raise DataError(
            f"the texts hold only {learned:,} different pieces, a vocabulary of {vocabulary:,} was asked for",
            hint=f"ask for a vocabulary of {learned} or less, or give more text",
        )


def learn_bpe(
    texts: Iterable[str], marks: Marks, *, vocabulary: int, pre_tokenizer: PreTokenizer, min_frequency: int = 0
) -> Bpe:
    """At most `vocabulary` tokens: the special ones, all bytes, and what the most frequent pairs make.

    Raises:
        DataError: the vocabulary is smaller than the bytes and the special tokens.
    """
    smallest = 256 + len(marks.tokens)
    if vocabulary < smallest:
        hint = "a few thousand are usual"
        raise DataError(f"a vocabulary of {vocabulary} cannot hold the {smallest} bytes and special tokens", hint=hint)
    if why_not_compiled(SOURCE) is not None:
        return _learned_by_library(texts, marks, vocabulary, pre_tokenizer, min_frequency)
    words = count_words(texts, pre_tokenizer)
    names = [*marks.tokens, *_alphabet()]
    numbers = np.zeros(256, np.int32)
    for number, character in enumerate(_alphabet(), len(marks.tokens)):
        numbers[BYTE_OF[character]] = number
    merges = learn_merges(
        numbers[words.data], words.starts, words.counts, names, vocabulary=vocabulary, min_frequency=min_frequency
    )
    for left, right, made in merges:
        if made == len(names):
            names.append(names[left] + names[right])
    return Bpe(tuple(names), tuple(merges))


@cache
def _alphabet() -> tuple[str, ...]:
    return tuple(sorted(ByteLevel.alphabet()))


def _learned_by_library(
    texts: Iterable[str], marks: Marks, vocabulary: int, pre_tokenizer: PreTokenizer, min_frequency: int
) -> Bpe:
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=min_frequency,
        special_tokens=list(marks.tokens),
        initial_alphabet=list(_alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    model = json.loads(backend.to_str())["model"]
    number = model["vocab"]
    merges = tuple((number[left], number[right], number[left + right]) for left, right in model["merges"])
    return Bpe(tuple(sorted(number, key=number.__getitem__)), merges)


def bpe_backend(learned: Bpe, marks: Marks, pre_tokenizer: PreTokenizer) -> tokenizers.Tokenizer:
    """The tokenizer that cuts and merges like this."""
    # A pair that was merged twice counts where it was merged last, as in the library.
    last = {(left, right): at for at, (left, right, _) in enumerate(learned.merges)}
    merges = [(learned.tokens[left], learned.tokens[right]) for left, right in sorted(last, key=last.__getitem__)]
    vocabulary = {token: number for number, token in enumerate(learned.tokens)}
    backend = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    backend.pre_tokenizer = pre_tokenizer
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(added_tokens(marks))
    return backend


def added_tokens(marks: Marks) -> list[AddedToken]:
    """The special tokens as the library wants them."""
    return [
        AddedToken(text, special=True, normalized=False, lstrip=text == marks.swallows_space) for text in marks.tokens
    ]


def write_tokenizer(backend: tokenizers.Tokenizer, marks: Marks, folder: Path, *, context: int) -> Tokenizer:
    """Writes a tokenizer and what its special tokens are for into `folder`."""
    _put_around_texts(backend, marks)
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / TOKENIZER_FILE))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **marks.named,
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
    }
    (folder / CONFIG_FILE).write_text(json.dumps(config, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
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
