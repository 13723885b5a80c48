"""What a classifier must beat, from the same training rows: the ladder from the most frequent label upwards.

Rules of keywords, the nearest training texts by an encoder's vectors, and TF-IDF with logistic regression, which is
strong on texts whose words betray their label and takes seconds. Nothing is random; what has a setting has it chosen on
the validation rows, so that it is not beaten for want of care.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from setsail.data.row import Row
from setsail.evaluate.baseline import BETWEEN, text_features
from setsail.evaluate.metrics import rouge_tokens

# Texts to the probability of each label, [N, C] in the order of the labels.
Classify = Callable[[Sequence[str]], NDArray[np.float64]]

NEIGHBOURS = (1, 5, 20)
_MOST_KEYWORDS = 20  # of a label
_LEAST_ROWS = 3  # in which a keyword stands
_LEAST_SURENESS = 1.96  # standard errors
_PRIOR_ROWS = 0.5  # with each word, under each label
INVERSE_PENALTIES = (1.0, 10.0, 100.0)
_MOST_FEATURES = 100_000
_MOST_WEIGHTS = 5_000_000  # features times labels: what the solver holds some twenty times over
_MOST_STEPS = 500


def majority(train: Sequence[Row], labels: Sequence[str]) -> Classify:
    """Says for every text how often each label stands in training."""
    counts = np.array([sum(row.label == label for row in train) for label in labels], dtype=np.float64)
    shares = counts / counts.sum()
    return lambda texts: np.tile(shares, (len(texts), 1))


def keywords(train: Sequence[Row], labels: Sequence[str]) -> Classify:
    """Rules: a text is of the label of which it holds the most keywords; one without any is of the most frequent.

    A label's keywords are the words that are likelier under it than under all others together, by the log-odds of their
    document counts over its standard error. Source: Monroe, Colaresi and Quinn 2008, Fightin' Words, section 3.5.
    """
    index = {label: number for number, label in enumerate(labels)}
    analyzer: Any = words_of  # its stubs know words alone
    vectorizer = CountVectorizer(analyzer=analyzer, binary=True, min_df=min(_LEAST_ROWS, len(train)))
    try:
        holds_NF: Any = vectorizer.fit_transform([row.text for row in train])
    except ValueError:  # not one word stands in enough rows
        return majority(train, labels)
    of_label_NC = np.zeros((len(train), len(labels)))
    of_label_NC[np.arange(len(train)), [index[row.label] for row in train]] = 1.0
    with_CF = np.asarray(of_label_NC.T @ holds_NF) + _PRIOR_ROWS
    rows_C1 = of_label_NC.sum(axis=0)[:, None] + 2 * _PRIOR_ROWS
    others_CF, other_rows_C1 = with_CF.sum(axis=0) - with_CF, rows_C1.sum() - rows_C1
    log_odds_CF = np.log(with_CF / rows_C1) - np.log(others_CF / other_rows_C1)
    sureness_CF = log_odds_CF / np.sqrt(1 / with_CF + 1 / others_CF)
    least_C1 = np.sort(sureness_CF, axis=1)[:, -min(_MOST_KEYWORDS, sureness_CF.shape[1])][:, None]
    is_keyword_CF = (sureness_CF >= np.maximum(least_C1, _LEAST_SURENESS)).astype(np.float64)
    shares_C = of_label_NC.mean(axis=0)

    def classify(texts: Sequence[str]) -> NDArray[np.float64]:
        found_NC = np.asarray(vectorizer.transform(texts) @ is_keyword_CF.T) + shares_C
        return found_NC / found_NC.sum(axis=1, keepdims=True)

    return classify


def words_of(text: str) -> list[str]:
    """Words, and the pairs of neighbouring characters of scripts without spaces."""
    tokens = rouge_tokens(text)
    single = [len(token) == 1 and not token.isascii() for token in tokens]
    pairs = [
        left + right for left, right, *one in zip(tokens, tokens[1:], single, single[1:], strict=False) if all(one)
    ]
    return [token for token, is_single in zip(tokens, single, strict=True) if not is_single] + pairs


def neighbours(
    vectors: Callable[[Sequence[str]], NDArray[np.float32]],
    train: Sequence[Row],
    validation: Sequence[Row],
    labels: Sequence[str],
) -> Classify:
    """The labels of the nearest training texts, each counting by its cosine; how many of them validates best.

    `vectors` gives texts as vectors of length one.
    """
    index = {label: number for number, label in enumerate(labels)}
    known_ND = vectors([row.text for row in train])
    of_label_N = np.array([index[row.label] for row in train])
    shares_C = np.bincount(of_label_N, minlength=len(labels)) / len(train)

    def shares(asked_MD: NDArray[np.float32], count: int) -> NDArray[np.float64]:
        found_MC = np.tile(1e-3 * shares_C, (len(asked_MD), 1))
        for place, vector_D in enumerate(asked_MD):
            cosines_N = known_ND @ vector_D
            nearest = np.argpartition(-cosines_N, count - 1)[:count]
            np.add.at(found_MC[place], of_label_N[nearest], np.maximum(cosines_N[nearest], 0.0))
        return found_MC / found_MC.sum(axis=1, keepdims=True)

    counts = [count for count in NEIGHBOURS if count <= len(train)]
    asked_MD = vectors([row.text for row in validation])
    right_M = np.array([index[row.label] for row in validation], dtype=np.int64)
    best = max(counts, key=lambda count: int((shares(asked_MD, count).argmax(axis=1) == right_M).sum()))
    return lambda texts: shares(vectors(texts), best)


def probe(
    vectors: Callable[[Sequence[str]], NDArray[np.float32]],
    train: Sequence[Row],
    validation: Sequence[Row],
    labels: Sequence[str],
) -> Classify:
    """Logistic regression on an encoder's vectors; the encoder learns nothing. Its penalty is what validates best."""
    index = {label: number for number, label in enumerate(labels)}
    known_ND, targets = vectors([row.text for row in train]), [index[row.label] for row in train]

    def fitted(inverse_penalty: float) -> LogisticRegression:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return LogisticRegression(C=inverse_penalty, max_iter=_MOST_STEPS).fit(known_ND, targets)

    best = fitted(INVERSE_PENALTIES[1])
    if validation:
        asked_MD, right = vectors([row.text for row in validation]), [index[row.label] for row in validation]
        best = max(map(fitted, INVERSE_PENALTIES), key=lambda model: model.score(asked_MD, right))

    def classify(texts: Sequence[str]) -> NDArray[np.float64]:
        whole = np.zeros((len(texts), len(labels)))
        whole[:, best.classes_] = best.predict_proba(vectors(texts))
        return whole

    return classify


def tfidf_regression(train: Sequence[Row], validation: Sequence[Row], labels: Sequence[str]) -> Classify:
    """Logistic regression over words and character n-grams; its penalty is the one that validates best."""
    fitted = linear_model(train, labels)
    if not validation:
        return fitted(10.0)
    index = {label: number for number, label in enumerate(labels)}
    asked = [row.text for row in validation]
    right = np.array([index[row.label] for row in validation])
    candidates = [fitted(inverse_penalty) for inverse_penalty in INVERSE_PENALTIES]
    scores = [float((candidate(asked).argmax(axis=1) == right).mean()) for candidate in candidates]
    return candidates[int(np.argmax(scores))]


def linear_model(train: Sequence[Row], labels: Sequence[str]) -> Callable[[float], Classify]:
    """Logistic regression over words and character n-grams, to be fitted with an inverse penalty."""
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

    return fitted
