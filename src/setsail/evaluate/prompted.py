"""What needs no training at all: a chat model that is given the labels and the text, and says one of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from setsail.base.page.words import Language
from setsail.data.row import Row
from setsail.evaluate.class_baselines import Classify

AT_ONCE = 4  # questions
MOST_VALIDATION_ROWS = 64
_PROMPTS = {
    "en": "Which of these labels fits the text? Answer with the label alone.\nLabels: {labels}\n\nText: {text}",
    "zh": "下面的文本属于哪个标签？只回答标签本身。\n标签：{labels}\n\n文本：{text}",
}


def prompted(
    ask: Callable[[str], str],
    train: Sequence[Row],
    validation: Sequence[Row],
    labels: Sequence[str],
    *,
    language: Language,
    unclear: Callable[[int], None],
) -> Classify:
    """What the model behind `ask` says, asked once for each text.

    An answer that names no label counts as the most frequent one of training; `unclear` is told how many did. A model
    that only speaks has no probabilities: the label it says gets the share of validation rows that it has right.
    """
    counts = Counter(row.label for row in train)
    usual = labels.index(counts.most_common(1)[0][0])

    def said(texts: Sequence[str]) -> NDArray[np.int64]:
        prompts = [_PROMPTS[language].format(labels=", ".join(labels), text=text) for text in texts]
        with ThreadPoolExecutor(AT_ONCE) as threads:
            found = [named(answer, labels) for answer in threads.map(ask, prompts)]
        if None in found:
            unclear(found.count(None))
        return np.array([usual if place is None else place for place in found], dtype=np.int64)

    known = validation[:MOST_VALIDATION_ROWS]
    right = said([row.text for row in known]) == np.array([labels.index(row.label) for row in known], dtype=np.int64)
    # What it says stays the likeliest, however seldom it is right.
    trust = max((float(right.sum()) + 1) / (len(known) + 2), 1 / len(labels) + 1e-6)

    def classify(texts: Sequence[str]) -> NDArray[np.float64]:
        shares = np.full((len(texts), len(labels)), (1 - trust) / max(1, len(labels) - 1))
        shares[np.arange(len(texts)), said(texts)] = trust
        return shares / shares.sum(axis=1, keepdims=True)

    return classify


def named(answer: str, labels: Sequence[str]) -> int | None:
    """The label that an answer names: the whole of it, or else the first that stands in it; None where none does.

    >>> named("Billing.", ["log in", "billing"]), named("It is log in", ["log in", "billing"]), named("no", ["yes"])
    (1, 0, None)
    """
    plain = [_plain(label) for label in labels]
    text = _plain(answer)
    if text in plain:
        return plain.index(text)
    found = []
    for place, label in enumerate(plain):
        edge = r"(?<!\w){}(?!\w)" if label.isascii() else "{}"
        match = re.search(edge.format(re.escape(label)), text) if label else None
        if match:
            found.append((match.start(), -len(label), place))
    return min(found)[2] if found else None


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip(" .。:：\"'`*\n").casefold()
