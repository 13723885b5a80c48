from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, trainers
from tokenizers.pre_tokenizers import ByteLevel, Metaspace

from setsail.base.compiled import have_compiler
from setsail.models.pre_tokenizers import PRE_TOKENIZERS
from setsail.tokens import words
from setsail.tokens.train import MARKS, bpe_backend, learn_bpe
from setsail.tokens.words import count_words

needs_compiler = pytest.mark.skipif(not have_compiler(), reason="no C++ compiler here")
# Whatever decides where a text is cut: spaces of all kinds, line ends, contractions, digits, scripts, marks.
ODD = st.sampled_from(
    [
        *(" ", "  ", "\n", "\r\n", "\t", "\u3000", "\xa0", "\x85", "'s", "'LL", "'\u017f", "'", "'r", "'RE", "7", "１"),
        *("½", "²", "Ⅻ", "٣", "a", "É", "e\u0301", "月", "한", "😀", "\u200d", ".", "…", "_", "<|endoftext|>", "\x00"),
        "\U00011de7",  # a digit to one table of Unicode, and not to another
    ]
)
TEXTS = st.lists(st.lists(st.one_of(ODD, st.text(max_size=3)), max_size=25).map("".join), max_size=4)
STORY = [
    "The fisherman's wife didn't go to the sea; the sea was grey, and the wind was high. " * 3,
    "床前明月光，疑是地上霜。举头望明月，低头思故乡。aaaaaa aaaa aaa",
    "白日依山尽，黄河入海流。 \n\n  def f(x): return x[12345] + 1.5e-3",
]


def counted(found: words.Words) -> dict[str, int]:
    return dict(zip(found.texts(), found.counts.tolist(), strict=True))


@needs_compiler
@pytest.mark.parametrize("name", PRE_TOKENIZERS)
@settings(deadline=None)
@given(texts=TEXTS)
def test_words_are_those_of_the_library(name: str, texts: list[str]) -> None:
    cut = PRE_TOKENIZERS[name]()
    assert words._pattern_of(cut) is not None, "it would not be compiled code that is tried"
    expected: Counter[str] = Counter()
    for text in texts:
        expected.update(text[start:end] for _, (start, end) in cut.pre_tokenize_str(text))
    assert counted(count_words(texts, cut)) == expected


def test_another_way_of_cutting_is_left_to_the_library() -> None:
    assert counted(count_words(["a b a"], Metaspace(prepend_scheme="never"))) == {"a": 1, " b": 1, " a": 1}


def by_library(texts: list[str], vocabulary: int, name: str, least: int = 0) -> dict[str, object]:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = PRE_TOKENIZERS[name]()
    alphabet = sorted(ByteLevel.alphabet())
    special = list(MARKS["decoder"].tokens)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=least,
        special_tokens=special,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return json.loads(backend.to_str())["model"]


def ours(texts: list[str], vocabulary: int, name: str, least: int = 0) -> dict[str, object]:
    cut = PRE_TOKENIZERS[name]()
    learned = learn_bpe(texts, MARKS["decoder"], vocabulary=vocabulary, pre_tokenizer=cut, min_frequency=least)
    return json.loads(bpe_backend(learned, MARKS["decoder"], cut).to_str())["model"]


@needs_compiler
@pytest.mark.parametrize("name", PRE_TOKENIZERS)
@pytest.mark.parametrize(("vocabulary", "least"), [(300, 0), (2000, 0), (2000, 3)])
def test_merges_are_those_of_the_library(name: str, vocabulary: int, least: int) -> None:
    assert ours(STORY, vocabulary, name, least) == by_library(STORY, vocabulary, name, least)


@needs_compiler
@settings(deadline=None)
@given(texts=st.lists(st.text(alphabet="ab \n月", max_size=40), max_size=6))
def test_merges_are_those_of_the_library_where_pairs_repeat(texts: list[str]) -> None:
    assert ours(texts, 320, "qwen2") == by_library(texts, 320, "qwen2")


def test_compiled_and_plain_learn_the_same() -> None:
    found = count_words(STORY, PRE_TOKENIZERS["qwen2"]())
    names = [f"<{byte}>" for byte in range(256)]
    symbols = found.data.astype(np.int32)
    compiled = words.learn_merges(symbols, found.starts, found.counts, names, vocabulary=400)
    plain = words._learn_plainly(symbols, found.starts, found.counts, names, vocabulary=400, min_frequency=0)
    assert compiled == plain and len(plain) > 50


def test_a_smaller_vocabulary_is_the_beginning_of_a_larger_one() -> None:
    cut, marks = PRE_TOKENIZERS["qwen2"](), MARKS["decoder"]
    large = learn_bpe(STORY, marks, vocabulary=420, pre_tokenizer=cut)
    for size in (259, 300, 377, 420):
        assert large.cut(size) == learn_bpe(STORY, marks, vocabulary=size, pre_tokenizer=cut)
