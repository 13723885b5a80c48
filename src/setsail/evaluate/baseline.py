"""The nearest-neighbour answer: what a search over the training questions would have said, without any model.

A tuned model that does not beat it has learned to look up, at best. Words and character n-grams, so that Chinese needs
no segmenter; nothing is random, and the order of the training rows does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer

from setsail.data.row import Message, Row
from setsail.evaluate.metrics import rouge_tokens
from setsail.evaluate.question import Question, question_of, question_text
from setsail.evaluate.system import Answer, System

_NGRAMS = (2, 3, 4)
BETWEEN = "\x00"  # between features: a character that no feature holds
_QUESTIONS_AT_ONCE = 256


@dataclass(frozen=True)
class Neighbour:
    """The training row found for a question: its id, its answer, and the cosine between the two questions."""

    row_id: str
    answer: str
    similarity: float


@dataclass(frozen=True)
class NearestNeighbour:
    """TF-IDF over training questions; `find` gives the nearest one's answer."""

    vectorizer: TfidfVectorizer
    vectors: csr_matrix
    known: tuple[Question, ...]

    def find(self, prompts: Sequence[Sequence[Message]]) -> list[Neighbour]:
        """The nearest training question of each; of equally near ones, the one with the smallest row id."""
        found = []
        for start in range(0, len(prompts), _QUESTIONS_AT_ONCE):
            part = prompts[start : start + _QUESTIONS_AT_ONCE]
            asked = self.vectorizer.transform([_features(prompt) for prompt in part])
            # Rounded, so that the last bit of a sum does not decide between equals; argmax takes the first.
            cosines = np.round((asked @ self.vectors.T).toarray(), 6)
            found += [self._neighbour(int(best), cosines[row, best]) for row, best in enumerate(cosines.argmax(axis=1))]
        return found

    def system(self) -> System:
        """The baseline as a system to score: it has no probabilities, no tokens and nothing to stop."""
        return System(answers=lambda prompts: [Answer(found.answer) for found in self.find(prompts)])

    def _neighbour(self, index: int, similarity: float) -> Neighbour:
        return Neighbour(self.known[index].row_id, self.known[index].reference, float(similarity))


def fit_nearest(train_rows: Sequence[Row]) -> NearestNeighbour:
    """A nearest-neighbour baseline over the questions of the training rows.

    Raises: ValueError without rows.
    """
    if not train_rows:
        raise ValueError("a nearest neighbour needs at least one training row")
    known = sorted((question_of(row) for row in train_rows), key=lambda question: question.row_id)
    vectorizer = TfidfVectorizer(token_pattern=f"[^{BETWEEN}]+", lowercase=False, sublinear_tf=True)
    vectors = csr_matrix(vectorizer.fit_transform([_features(question.prompt) for question in known]))
    return NearestNeighbour(vectorizer, vectors, tuple(known))


def _features(prompt: Sequence[Message]) -> str:
    """Words, and the character n-grams inside each stretch between spaces, set apart; nothing asked is one feature."""
    return text_features(question_text(prompt))


def text_features(text: str) -> str:
    """The features of a text, with `BETWEEN` between them: words, and character n-grams inside each stretch."""
    text = text.lower().replace(BETWEEN, " ")
    words = [f"w {token}" for token in rouge_tokens(text)]
    stretches = [f"^{stretch}$" for stretch in text.split()]
    grams = [piece[i : i + n] for piece in stretches for n in _NGRAMS for i in range(len(piece) - n + 1)]
    return BETWEEN.join([*words, *grams] or [" "])
