"""What a trained encoder must beat at searching: a random order, BM25, TF-IDF, and an encoder as it came.

Each is made of the texts to be searched, and then gives every query the scores of its candidates. Nothing is random but
the random order, which follows from a seed and the query.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

from setsail.evaluate.baseline import BETWEEN, text_features
from setsail.evaluate.class_baselines import words_of

K1, B = 1.2, 0.75


@dataclass(frozen=True)
class Asked:
    """A query and where its answer may be: all texts, or the `candidates` among them, by their numbers."""

    query: str
    candidates: NDArray[np.int64] | None = None

    def of(self, scores: NDArray[Any]) -> NDArray[Any]:
        """The scores of the candidates, of those of all texts."""
        return scores if self.candidates is None else scores[self.candidates]


Vectors = Callable[[Sequence[str]], NDArray[np.float32]]  # texts to vectors of length one
Scores = Callable[[Sequence[Asked]], list[NDArray[np.floating]]]  # of each query's candidates, in their order
Alike = Callable[[Sequence[str], Sequence[str]], NDArray[np.floating]]  # how alike each text is to that at its side


def random_order(num_texts: int, *, seed: int) -> Scores:
    """Scores by lot."""

    def scores(asked: Sequence[Asked]) -> list[NDArray[np.floating]]:
        lots = (hashlib.sha256(f"{seed}:{each.query}".encode()).digest() for each in asked)
        drawn = (np.random.default_rng(int.from_bytes(lot[:8], "big")).random(num_texts) for lot in lots)
        return [each.of(values) for each, values in zip(asked, drawn, strict=True)]

    return scores


def bm25(texts: Sequence[str]) -> Scores:
    """BM25 over words, and over pairs of characters where a script has no spaces; k1 = 1.2, b = 0.75.

    Source: Robertson and Zaragoza 2009, The Probabilistic Relevance Framework; the idf is Lucene's, never below 0.
    """
    analyzer: Any = words_of  # its stubs know words alone
    vectorizer = CountVectorizer(analyzer=analyzer)
    try:
        counts_NF = csr_matrix(vectorizer.fit_transform(texts), dtype=np.float64)
    except ValueError:  # not one word in any text
        return lambda asked: [each.of(np.zeros(len(texts))) for each in asked]
    lengths_N = np.asarray(counts_NF.sum(axis=1)).ravel()
    with_F = np.bincount(counts_NF.indices, minlength=len(vectorizer.vocabulary_))
    idf_F = np.log1p((len(texts) - with_F + 0.5) / (with_F + 0.5))
    weight_N = K1 * (1 - B + B * lengths_N / lengths_N.mean())
    text_of = np.repeat(np.arange(len(texts)), np.diff(counts_NF.indptr))
    weights = counts_NF.data * (K1 + 1) / (counts_NF.data + weight_N[text_of]) * idf_F[counts_NF.indices]
    weights_FN = csr_matrix((weights, counts_NF.indices, counts_NF.indptr), shape=counts_NF.shape).T.tocsr()
    return _sparse(lambda queries: vectorizer.transform(queries), weights_FN)


def tfidf_cosine(texts: Sequence[str]) -> Scores:
    """The cosine of TF-IDF vectors over words and character n-grams."""
    vectorizer = _tfidf()
    vectors_NF = csr_matrix(vectorizer.fit_transform(map(text_features, texts)))
    return _sparse(lambda queries: vectorizer.transform(map(text_features, queries)), vectors_NF.T.tocsr())


def by_vectors(vectors: Vectors, texts: Sequence[str]) -> Scores:
    """The cosine of an encoder's vectors."""
    vectors_ND = vectors(texts)

    def scores(asked: Sequence[Asked]) -> list[NDArray[np.floating]]:
        asked_QD = vectors([each.query for each in asked])
        return [each.of(vectors_ND @ vector_D) for each, vector_D in zip(asked, asked_QD, strict=True)]

    return scores


def alike_by_vectors(vectors: Vectors) -> Alike:
    """How alike two texts are by an encoder's vectors."""
    return lambda left, right: (vectors(left) * vectors(right)).sum(axis=1)


def alike_by_tfidf(texts: Sequence[str]) -> Alike:
    """How alike two texts are by the words and character n-grams that they share; rare ones count more."""
    vectorizer = _tfidf()
    vectorizer.fit(map(text_features, texts))

    def alike(left: Sequence[str], right: Sequence[str]) -> NDArray[np.floating]:
        sides: list[Any] = [vectorizer.transform(map(text_features, side)) for side in (left, right)]
        return np.asarray(sides[0].multiply(sides[1]).sum(axis=1)).ravel()

    return alike


def _tfidf() -> TfidfVectorizer:
    return TfidfVectorizer(token_pattern=f"[^{BETWEEN}]+", lowercase=False, sublinear_tf=True)


def _sparse(features: Callable[[Sequence[str]], Any], weights_FN: csr_matrix) -> Scores:
    def scores(asked: Sequence[Asked]) -> list[NDArray[np.floating]]:
        found_QN = (features([each.query for each in asked]) @ weights_FN).toarray()
        return [each.of(values) for each, values in zip(asked, found_QN, strict=True)]

    return scores
