"""The kinds of tokenizer that are not byte-level BPE: Unigram and WordPiece, trained by the tokenizers library.

Unigram cuts at spaces and punctuation, keeps every character of a text, and falls back to bytes, so that nothing is
unknown. WordPiece is BERT's: Chinese characters stand apart, spaces are lost, and a character that the texts did not
hold is unknown: it is for models that read and do not write.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers

from setsail.base.errors import DataError
from setsail.tokens.train import MARKS, Marks, added_tokens, with_tokens

UNIGRAM_CHARACTERS = 2_000_000  # about what its trainer should be given: it holds all, and takes minutes
UNKNOWN = {"unigram": "<unk>", "wordpiece": "[UNK]"}
_BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
_SPACE = "▁"
_RARE_SCORE = -100.0  # of a byte: worse than any piece that was learned


def piece_marks(kind: str, more: tuple[str, ...] = ()) -> Marks:
    """The special tokens of a tokenizer of this kind."""
    if kind == "wordpiece":
        marks = MARKS["encoder"]
        tokens = (marks.tokens[0], UNKNOWN[kind], *marks.tokens[1:])
    else:
        marks = Marks((), {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"})
        tokens = ("<pad>", UNKNOWN[kind], "<s>", "</s>")
    named = {**marks.named, "unk_token": UNKNOWN[kind]}
    return with_tokens(replace(marks, tokens=tokens, named=named), more)


def train_wordpiece(
    texts: Iterable[str], marks: Marks, *, vocabulary: int, min_frequency: int = 0
) -> tokenizers.Tokenizer:
    """BERT's kind of tokenizer, with case and accents kept.

    Raises:
        DataError: the texts hold more different characters than the vocabulary has places.
    """
    backend = tokenizers.Tokenizer(models.WordPiece(unk_token=UNKNOWN["wordpiece"]))  # pyright: ignore[reportCallIssue]
    backend.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary, min_frequency=min_frequency, special_tokens=added_tokens(marks), show_progress=False
    )
    backend.train_from_iterator(texts, trainer)
    if backend.get_vocab_size() > vocabulary:
        raise DataError(
            f"a vocabulary of {vocabulary:,} cannot hold the characters of the texts:"
            f" {backend.get_vocab_size():,} alone and inside words",
            place="tokenizer.vocabulary",
            hint="a larger tokenizer.vocabulary, or tokenizer.kind: bpe, which needs no more than 256 bytes",
        )
    return backend


def train_unigram(texts: Iterable[str], marks: Marks, *, vocabulary: int) -> tokenizers.Tokenizer:
    """A Unigram tokenizer with bytes for what is rare; more than UNIGRAM_CHARACTERS take long.

    Raises:
        DataError: the vocabulary is smaller than bytes and special tokens, or than the texts' different characters.
    """
    room = vocabulary - len(_BYTES)
    if room <= len(marks.tokens):
        hint = "a few thousand are usual"
        raise DataError(f"a vocabulary of {vocabulary} cannot hold the bytes and special tokens", hint=hint)
    backend = tokenizers.Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme="never", split=True),
            pre_tokenizers.Split(Regex(r"\p{P}|\p{S}|\p{N}|[\r\n]+"), behavior="isolated"),
        ]
    )
    trainer = trainers.UnigramTrainer(
        vocab_size=room, special_tokens=added_tokens(marks), unk_token=UNKNOWN["unigram"], show_progress=False
    )
    backend.train_from_iterator(texts, trainer)
    return _with_bytes(backend, vocabulary)


def _with_bytes(backend: tokenizers.Tokenizer, vocabulary: int) -> tokenizers.Tokenizer:
    described = json.loads(backend.to_str())
    model = described["model"]
    model["vocab"] = [*model["vocab"], *([byte, _RARE_SCORE] for byte in _BYTES)]
    if len(model["vocab"]) > vocabulary:
        raise DataError(
            f"a vocabulary of {vocabulary:,} cannot hold the different characters of the texts and the bytes:"
            f" {len(model['vocab']):,}",
            place="tokenizer.vocabulary",
            hint="a larger tokenizer.vocabulary, or tokenizer.kind: bpe",
        )
    model["byte_fallback"] = True
    with_bytes = tokenizers.Tokenizer.from_str(json.dumps(described))
    with_bytes.decoder = decoders.Sequence([decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    return with_bytes
