"""What a reader must beat, from the same training rows: the cheapest ways to say scores, labels, parts and answers.

Nothing is random but what a seed fixes; what has a setting has it chosen on the validation rows. What does not live
here: one label for a text (`class_baselines.py`).
"""

from __future__ import annotations

import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction import FeatureHasher
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier

from setsail.base.target import labels_of, score_of, spans_of
from setsail.data.row import Row
from setsail.evaluate.baseline import BETWEEN, text_features
from setsail.evaluate.class_baselines import NEIGHBOURS
from setsail.evaluate.judges import Said
from setsail.evaluate.metrics import UNSPACED, rouge_tokens

Say = Callable[[Sequence[Row]], list[Said]]
Vectors = Callable[[Sequence[str]], NDArray[np.float32]]

PENALTIES = (0.3, 1.0, 3.0, 10.0)
_MOST_FEATURES = 100_000
_TOKEN = re.compile(f"[{UNSPACED}]|(?:(?![{UNSPACED}])\\w)+|[^\\w\\s]")
_SENTENCE = re.compile(r"[^.!?。！？\n]+[.!?。！？]*")
_HASHED_FEATURES = 1 << 18
_MOST_TAGGED_ROWS = 5000


def mean_score(train: Sequence[Row]) -> Say:
    """Says the mean of the training scores."""
    mean = float(np.mean([score_of(row.target) for row in train]))
    return lambda rows: [{"score": mean} for _ in rows]


def ridge(train: Sequence[Row], validation: Sequence[Row]) -> Say:
    """Ridge regression over words and character n-grams; its penalty is the one that validates best."""
    vectorizer, known = _vectorized(train)
    scores = np.array([score_of(row.target) for row in train])

    def fitted(penalty: float) -> Callable[[Sequence[Row]], NDArray[np.float64]]:
        model = Ridge(alpha=penalty).fit(known, scores)
        return lambda rows: model.predict(vectorizer.transform([text_features(row.text) for row in rows]))

    candidates = [fitted(penalty) for penalty in PENALTIES]
    true = np.array([score_of(row.target) for row in validation])
    errors = [float(((each(validation) - true) ** 2).mean()) if len(true) else 0.0 for each in candidates]
    best = candidates[int(np.argmin(errors))]
    return lambda rows: [{"score": float(score)} for score in best(rows)]


def neighbour_scores(vectors: Vectors, train: Sequence[Row], validation: Sequence[Row]) -> Say:
    """The mean score of the nearest training texts, each counting by its cosine."""
    scores = np.array([[score_of(row.target)] for row in train])
    true = np.array([[score_of(row.target)] for row in validation])
    found = _nearest(vectors, train, validation, scores, lambda said: float(-((said - true) ** 2).sum()))
    return lambda rows: [{"score": float(each[0])} for each in found(rows)]


def label_shares(train: Sequence[Row], labels: Sequence[str]) -> Say:
    """Says for every text how many of the training texts have each label."""
    shares = _has(train, labels).mean(axis=0)
    return lambda rows: [_labels_said(shares, labels) for _ in rows]


def each_label(
    train: Sequence[Row], labels: Sequence[str], *, inverse_penalty: float = 10.0, balanced: bool = True
) -> Say:
    """A logistic regression over words and character n-grams for each label.

    `balanced`: rows with a rare label count for more, so that it is said at all; chances are then no longer shares.
    """
    vectorizer, known = _vectorized(train)
    has_NK = _has(train, labels)

    def chance_of(label: int) -> Callable[[Any], NDArray[np.float64]]:
        values = has_NK[:, label]
        if values.min() == values.max():  # a model of one answer has nothing to learn
            return lambda asked: np.full(asked.shape[0], values[0])
        weights = "balanced" if balanced else None
        model = LogisticRegression(C=inverse_penalty, max_iter=500, class_weight=weights).fit(known, values)
        return lambda asked: model.predict_proba(asked)[:, 1]

    chances = [chance_of(label) for label in range(len(labels))]

    def say(rows: Sequence[Row]) -> list[Said]:
        asked = vectorizer.transform([text_features(row.text) for row in rows])
        return [_labels_said(line, labels) for line in np.stack([chance(asked) for chance in chances], axis=1)]

    return say


def neighbour_labels(vectors: Vectors, train: Sequence[Row], validation: Sequence[Row], labels: Sequence[str]) -> Say:
    """The labels that more than half of the nearest training texts have, each counting by its cosine."""
    true = _has(validation, labels)
    said = _nearest(
        vectors, train, validation, _has(train, labels), lambda found: float(((found >= 0.5) == true).sum())
    )
    return lambda rows: [_labels_said(line, labels) for line in said(rows)]


def dictionary(train: Sequence[Row]) -> Say:
    """Marks what training marked, wherever it stands: the longest first, each by its most frequent kind."""
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for row in train:
        for start, end, label in spans_of(row.target):
            kinds[row.text[start:end]][label] += 1
    names = {name: counts.most_common(1)[0][0] for name, counts in kinds.items()}
    longest = sorted(names, key=lambda name: (-len(name), name))
    pattern = re.compile("|".join(_whole(name) for name in longest)) if longest else None

    def say(rows: Sequence[Row]) -> list[Said]:
        return [
            {"spans": [_span(row, found, names) for found in pattern.finditer(row.text)] if pattern else []}
            for row in rows
        ]

    return say


def linear_tags(train: Sequence[Row], *, seed: int) -> Say:
    """A tag for each token from the words around it, by a linear model.

    The features are those of the window models before neural ones: the word, its shape and ends, two neighbours a side.
    """
    hasher = FeatureHasher(_HASHED_FEATURES, input_type="string")
    features, tags = [], []
    for row in train[:_MOST_TAGGED_ROWS]:
        tokens = list(_TOKEN.finditer(row.text))
        features += _window_features(tokens)
        tags += _tags(tokens, row)
    if len(set(tags)) < 2:
        return lambda rows: [{"spans": []} for _ in rows]
    model = SGDClassifier(loss="log_loss", alpha=1e-6, max_iter=20, tol=1e-4, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # nearly there is near enough for a baseline
        model.fit(hasher.transform(features), tags)

    def say(rows: Sequence[Row]) -> list[Said]:
        found = []
        for row in rows:
            tokens = list(_TOKEN.finditer(row.text))
            said = model.predict(hasher.transform(_window_features(tokens))) if tokens else []
            found.append({"spans": _spans_of_tags(tokens, list(said), row.text)})
        return found

    return say


def overlap(train: Sequence[Row]) -> Say:
    """The sentence of the context that shares most with the question, each word counting by its rarity in training."""
    documents = [set(rouge_tokens(row.messages[-1]["content"])) for row in train]
    counts = Counter(word for words in documents for word in words)

    def rarity(word: str) -> float:
        return float(np.log((len(documents) + 1) / (counts[word] + 1)))

    def answer(row: Row) -> Said:
        question, context = (message["content"] for message in row.messages)
        asked = set(rouge_tokens(question))
        sentences = [each.strip() for each in _SENTENCE.findall(context) if each.strip()]
        shared = [sum(rarity(word) for word in asked & set(rouge_tokens(each))) for each in sentences]
        return {"answer": sentences[int(np.argmax(shared))] if sentences else ""}

    return lambda rows: [answer(row) for row in rows]


def no_answer(rows: Sequence[Row]) -> list[Said]:
    """Says that there is none."""
    return [{"answer": ""} for _ in rows]


def _vectorized(train: Sequence[Row]) -> tuple[TfidfVectorizer, Any]:
    vectorizer = TfidfVectorizer(
        token_pattern=f"[^{BETWEEN}]+", lowercase=False, sublinear_tf=True, max_features=_MOST_FEATURES
    )
    return vectorizer, vectorizer.fit_transform([text_features(row.text) for row in train])


def _nearest(
    vectors: Vectors,
    train: Sequence[Row],
    validation: Sequence[Row],
    values_NK: NDArray[np.float64],
    quality: Callable[[NDArray[np.float64]], float],
) -> Callable[[Sequence[Row]], NDArray[np.float64]]:
    """The weighted mean of the nearest rows' values, [M, K]; how many of them is what validates best."""
    known_ND = vectors([row.text for row in train])

    def said(rows: Sequence[Row], count: int) -> NDArray[np.float64]:
        found = np.zeros((len(rows), values_NK.shape[1]))
        for line, vector_D in zip(found, vectors([row.text for row in rows]), strict=True):
            cosines_N = known_ND @ vector_D
            nearest = np.argpartition(-cosines_N, count - 1)[:count]
            weights = np.maximum(cosines_N[nearest], 1e-6)
            line[:] = weights @ values_NK[nearest] / weights.sum()
        return found

    counts = [count for count in NEIGHBOURS if count <= len(train)]
    best = max(counts, key=lambda count: quality(said(validation, count))) if validation else counts[-1]
    return lambda rows: said(rows, best)


def _has(rows: Sequence[Row], labels: Sequence[str]) -> NDArray[np.float64]:
    return np.array([[float(label in labels_of(row.target)) for label in labels] for row in rows])


def _labels_said(chances: NDArray[np.float64], labels: Sequence[str]) -> Said:
    probabilities = {label: float(chance) for label, chance in zip(labels, chances, strict=True)}
    return {"labels": [label for label in labels if probabilities[label] >= 0.5], "probabilities": probabilities}


def _whole(name: str) -> str:
    """A pattern for a name that stands alone: letters of scripts with spaces do not go on around it."""
    before = r"(?<![A-Za-z0-9])" if name[0].isascii() else ""
    after = r"(?![A-Za-z0-9])" if name[-1].isascii() else ""
    return f"{before}{re.escape(name)}{after}"


def _span(row: Row, found: re.Match[str], names: Mapping[str, str]) -> dict[str, Any]:
    return {"start": found.start(), "end": found.end(), "label": names[found.group()], "text": found.group()}


def _window_features(tokens: Sequence[re.Match[str]]) -> list[list[str]]:
    words = ["<", "<", *(token.group() for token in tokens), ">", ">"]
    found = []
    for place in range(2, len(words) - 2):
        word = words[place]
        around = [f"{offset}={words[place + offset]}" for offset in (-2, -1, 0, 1, 2)]
        pairs = [f"{words[place - 1]} {word}", f"{word} {words[place + 1]}", f"{words[place - 2]} {words[place - 1]} <"]
        found.append([*around, *pairs, f"shape={_shape(word)}", f"ends={word[-3:]}", f"starts={word[:3]}"])
    return found


def _shape(word: str) -> str:
    """What kinds of characters a word is of, repeats left out."""
    kinds = "".join("d" if c.isdigit() else "X" if c.isupper() else "x" if c.islower() else "c" for c in word)
    return re.sub(r"(.)\1+", r"\1", kinds)


def _tags(tokens: Sequence[re.Match[str]], row: Row) -> list[str]:
    tags = ["O"] * len(tokens)
    for start, end, label in spans_of(row.target):
        inside = [place for place, token in enumerate(tokens) if token.start() < end and start < token.end()]
        for place in inside:
            tags[place] = f"{'B' if place == inside[0] else 'I'}-{label}"
    return tags


def _spans_of_tags(tokens: Sequence[re.Match[str]], tags: Sequence[str], text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    last = -2  # place of the last token inside a part
    for place, (token, tag) in enumerate(zip(tokens, tags, strict=True)):
        position, _, label = tag.partition("-")
        if position == "I" and last == place - 1 and found[-1]["label"] == label:
            found[-1]["end"] = token.end()
        elif position != "O":
            found.append({"start": token.start(), "end": token.end(), "label": label})
        last = place if position != "O" else last
    return [{**each, "text": text[each["start"] : each["end"]]} for each in found]
