"""What a model that writes texts from texts must beat: the source itself, a word list, the first or central sentences.

The nearest training source with its target (a translation memory) is `baseline.py`. Nothing is random; what has a
setting has it chosen on the validation rows.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from setsail.data.row import Row
from setsail.data.steps.script import is_chinese
from setsail.evaluate.baseline import BETWEEN, text_features
from setsail.evaluate.metrics import chrf, rouge_tokens
from setsail.evaluate.pair_metrics import placeholders
from setsail.evaluate.question import question_of, question_text
from setsail.evaluate.system import Answer, System

Write = Callable[[str], str]

MOST_ALIGNED = 10_000  # pairs from which a word list is learned
_ROUNDS = 5
_MOST_SENTENCES = (1, 2, 3)
_DAMPING, _TURNS = 0.85, 30
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n+")
_PIECE = re.compile(r"\w+|[^\w\s]")


def writing(write: Write) -> System:
    """A function of the source as a system to score."""
    return System(answers=lambda prompts: [Answer(write(question_text(prompt))) for prompt in prompts])


def copied(source: str) -> str:
    """The source as it stands."""
    return source


def word_by_word(train: Sequence[Row]) -> Write:
    """Each word by the target's word that goes with it most surely; what is not known stays, placeholders too.

    Source: Brown et al. 1993, IBM model 1, five rounds of EM, over words and over characters in scripts without spaces.
    """
    pairs = [_sides(row) for row in train[:MOST_ALIGNED]]
    is_unspaced = 2 * sum(is_chinese(target) for _, target in pairs) > len(pairs)
    table = _aligned([(rouge_tokens(source), rouge_tokens(target)) for source, target in pairs])
    best = {word: max(sorted(shares), key=shares.__getitem__) for word, shares in table.items()}

    def write(source: str) -> str:
        kept = placeholders(source)
        pieces = (
            re.split("|".join(map(re.escape, sorted(set(kept), key=len, reverse=True))), source) if kept else [source]
        )
        written = []
        for place, piece in enumerate(pieces):
            written += [best.get(word.lower(), word) for word in _PIECE.findall(piece)]
            written += kept[place : place + 1]
        return ("" if is_unspaced else " ").join(written)

    return write


def _aligned(pairs: Sequence[tuple[list[str], list[str]]]) -> dict[str, dict[str, float]]:
    """How likely each target word is for each source word; an empty word takes what goes with none."""
    pairs = [(["", *source], target) for source, target in pairs]
    table: dict[str, dict[str, float]] = defaultdict(dict)
    for source, target in pairs:
        for word in source:
            table[word].update(dict.fromkeys(target, 1.0))
    for _ in range(_ROUNDS):
        counts: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        for source, target in pairs:
            for written in target:
                total = sum(table[word][written] for word in source)
                for word in source:
                    counts[word][written] += table[word][written] / total
        for word, found in counts.items():
            whole = sum(found.values())
            table[word] = {written: count / whole for written, count in found.items()}
    return {word: shares for word, shares in table.items() if word and shares}


def sentences(text: str) -> list[str]:
    """The sentences of a text in order, each with its end.

    >>> sentences("One. Two!  Three"), sentences("一。二？")
    (['One.', 'Two!', 'Three'], ['一。', '二？'])
    """
    return [piece.strip() for piece in _SENTENCE_END.split(text) if piece.strip()]


def leading(validation: Sequence[Row]) -> Write:
    """The first sentences of the source, as many as validate best."""
    return _of_best_number(validation, lambda source, number: _joined(sentences(source)[:number]))


def extracted(validation: Sequence[Row]) -> Write:
    """The most central sentences of the source in its order, as many as validate best.

    Source: Mihalcea and Tarau 2004, TextRank, with the cosine of TF-IDF between sentences (LexRank, Erkan and Radev
    2004) in place of shared words.
    """

    def write(source: str, number: int) -> str:
        found = sentences(source)
        chosen = sorted(np.argsort(-_centrality(found), kind="stable")[:number].tolist())
        return _joined([found[index] for index in chosen])

    return _of_best_number(validation, write)


def _centrality(found: Sequence[str]) -> np.ndarray:
    if len(found) < 2:
        return np.ones(len(found))
    vectorizer = TfidfVectorizer(token_pattern=f"[^{BETWEEN}]+", lowercase=False)
    sparse: Any = vectorizer.fit_transform([text_features(each) for each in found])
    vectors = sparse.toarray()
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, 0.0)
    likeness /= np.maximum(likeness.sum(axis=0, keepdims=True), 1e-9)
    ranks = np.full(len(found), 1 / len(found))
    for _ in range(_TURNS):
        ranks = (1 - _DAMPING) / len(found) + _DAMPING * likeness @ ranks
    return np.round(ranks, 9)


def _of_best_number(validation: Sequence[Row], write: Callable[[str, int], str]) -> Write:
    pairs = [_sides(row) for row in validation]
    references = [target for _, target in pairs]

    def value(number: int) -> float:
        return sum(chrf([write(source, number) for source, _ in pairs], references))

    best = max(_MOST_SENTENCES, key=value) if pairs else _MOST_SENTENCES[0]
    return lambda source: write(source, best)


def _joined(found: Sequence[str]) -> str:
    return ("" if found and is_chinese(found[0]) else " ").join(found)


def _sides(row: Row) -> tuple[str, str]:
    question = question_of(row)
    return question_text(question.prompt), question.reference
