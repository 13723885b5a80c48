"""What a classifier must beat: the most frequent label, and TF-IDF with logistic regression on the same training rows.

The second is strong on texts whose words betray their label, and takes seconds. Nothing is random; its one setting is
chosen on the validation rows, so that it is not beaten for want of care.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from setsail.data.row import Row
from setsail.evaluate.baseline import BETWEEN, text_features

# Texts to the probability of each label, [N, C] in the order of the labels.
Classify = Callable[[Sequence[str]], NDArray[np.float64]]

INVERSE_PENALTIES = (1.0, 10.0, 100.0)
_MOST_FEATURES = 100_000
_MOST_WEIGHTS = 5_000_000  # features times labels: what the solver holds some twenty times over
_MOST_STEPS = 500


def majority(train: Sequence[Row], labels: Sequence[str]) -> Classify:
    """Says for every text how often each label stands in training."""
    counts = np.array([sum(row.label == label for row in train) for label in labels], dtype=np.float64)
    shares = counts / counts.sum()
    return lambda texts: np.tile(shares, (len(texts), 1))


def tfidf_regression(train: Sequence[Row], validation: Sequence[Row], labels: Sequence[str]) -> Classify:
    """Logistic regression over words and character n-grams; its penalty is the one that validates best."""
    index = {label: number for number, label in enumerate(labels)}
    most = max(1000, min(_MOST_FEATURES, _MOST_WEIGHTS // len(labels)))
    vectorizer = TfidfVectorizer(token_pattern=f"[^{BETWEEN}]+", lowercase=False, sublinear_tf=True, max_features=most)
    vectors = vectorizer.fit_transform([text_features(row.text) for row in train])
    targets = np.array([index[row.label] for row in train])

    def fitted(inverse_penalty: float) -> Classify:
        model = LogisticRegression(C=inverse_penalty, max_iter=_MOST_STEPS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # nearly there is near enough for a baseline
            model.fit(vectors, targets)

        def classify(texts: Sequence[str]) -> NDArray[np.float64]:
            found = model.predict_proba(vectorizer.transform([text_features(text) for text in texts]))
            whole = np.zeros((len(texts), len(labels)))
            whole[:, model.classes_] = found
            return whole

        return classify

    if not validation:
        return fitted(10.0)
    asked = [row.text for row in validation]
    right = np.array([index[row.label] for row in validation])
    candidates = [fitted(inverse_penalty) for inverse_penalty in INVERSE_PENALTIES]
    scores = [float((candidate(asked).argmax(axis=1) == right).mean()) for candidate in candidates]
    return candidates[int(np.argmax(scores))]
