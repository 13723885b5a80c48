"""How what is said of a text is measured: scores, several labels, marked parts, and answers; of all rows and of draws.

Each judge gives its metrics for every weighting of the rows at once, so that intervals and paired differences come from
the same draws. What does not live here: one label for a text (`class_scores.py`).

Legend: N rows, R weightings of them (the first counts each row once), K kinds or labels.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from setsail.base.target import labels_of, score_of, spans_of
from setsail.data.row import Row, contents
from setsail.evaluate.class_scores import Counts
from setsail.evaluate.metrics import UNSPACED
from setsail.evaluate.probabilities import ranking_of

Floats = NDArray[np.float64]
Said = Mapping[str, Any]  # what a task says of one text, as `predict` prints it
MOST_LEVELS = 20  # of whole scores for which agreement is told
_DRAWS_AT_ONCE = 100
_PUNCTUATION = string.punctuation + "，。！？、；：“”‘’（）《》〈〉【】「」『』…—～·"
_TOKEN = re.compile(f"[{UNSPACED}]|[^\\s{UNSPACED}]+")


@dataclass(frozen=True)
class Judge:
    """One way to measure: the metric that leads; the metrics by name, [R] each; counts by kind, where there are any.

    `right` says row by row how good each answer is, 0 to 1; `shown` is what a reader sees of a row, or of an answer.
    """

    lead: str
    metrics: Callable[[Sequence[Row], Sequence[Said], Floats], dict[str, Floats]]
    right: Callable[[Sequence[Row], Sequence[Said]], Floats]
    shown: Callable[[Row, Said | None], str]
    kinds: Callable[[Sequence[Row], Sequence[Said]], tuple[tuple[str, ...], Counts]] | None = None


def of_scores(rows: Sequence[Row], said: Sequence[Said], weights_RN: Floats) -> dict[str, Floats]:
    """Mean squared and absolute error, variance explained, rank correlation, and agreement where scores are whole.

    Agreement is Cohen's kappa with quadratic weights, of what is said rounded to the true scores' range.
    """
    true_N, said_N = _scores(rows, said)
    mean = _means(weights_RN)
    squared_R = mean((true_N - said_N) ** 2)
    spread_R = mean(true_N**2) - mean(true_N) ** 2
    found = {
        "r2": 1 - _ratio(squared_R, spread_R, where_none=1.0),
        "mae": mean(np.abs(true_N - said_N)),
        "mse": squared_R,
        "spearman": rank_correlation(true_N, said_N, weights_RN),
    }
    is_whole = np.array_equal(true_N, np.round(true_N)) and 2 <= np.ptp(true_N) + 1 <= MOST_LEVELS
    if is_whole:
        levels_N = np.clip(np.round(said_N), true_N.min(), true_N.max())
        by_chance_R = mean(true_N**2) + mean(levels_N**2) - 2 * mean(true_N) * mean(levels_N)
        found["kappa"] = 1 - _ratio(mean((true_N - levels_N) ** 2), by_chance_R, where_none=1.0)
    return found


def rank_correlation(left_N: Floats, right_N: Floats, weights_RN: Floats) -> Floats:
    """Spearman's correlation [R], equal values at the mean of their ranks; 0 where one side has one value alone."""
    parts = []
    for start in range(0, len(weights_RN), _DRAWS_AT_ONCE):
        weights = weights_RN[start : start + _DRAWS_AT_ONCE]
        mean = _means_by_draw(weights)
        x_RN, y_RN = (_ranks(values, weights) for values in (left_N, right_N))
        x_RN, y_RN = x_RN - mean(x_RN)[:, None], y_RN - mean(y_RN)[:, None]
        spread_R = np.sqrt(mean(x_RN**2) * mean(y_RN**2))
        parts.append(_ratio(mean(x_RN * y_RN), spread_R, where_none=0.0))
    return np.concatenate(parts)


def _ranks(values_N: Floats, weights_RN: Floats) -> Floats:
    """The rank of each row in every draw, in which it stands as often as its weight says."""
    unique, place_N = np.unique(values_N, return_inverse=True)
    count_RU = np.zeros((len(weights_RN), len(unique)))
    np.add.at(count_RU.T, place_N, weights_RN.T)
    return (count_RU.cumsum(axis=1) - count_RU / 2 + 0.5)[:, place_N]


def of_labels(rows: Sequence[Row], said: Sequence[Said], weights_RN: Floats) -> dict[str, Floats]:
    """F1 over all labels of all texts and in the mean over labels, texts with exactly the right ones, and ranking."""
    _, counts = _label_kinds(rows, said)
    drawn = _drawn(counts, weights_RN)
    names = tuple(said[0]["probabilities"])
    chances_NK = np.array([[each["probabilities"][name] for name in names] for each in said])
    has_NK = np.array([[name in labels_of(row.target) for name in names] for row in rows])
    return {
        "micro_f1": _micro(drawn).f1[:, 0],
        "macro_f1": drawn.macro(drawn.f1),
        "exact_match": _means(weights_RN)(_all_right(rows, said)),
        "auroc": ranking_of(has_NK, chances_NK, weights_RN),
    }


def of_spans(rows: Sequence[Row], said: Sequence[Said], weights_RN: Floats) -> dict[str, Floats]:
    """F1, precision and recall of marked parts: place and kind must both be right.

    Source: Tjong Kim Sang and De Meulder 2003 (CoNLL), as seqeval computes them.
    """
    _, counts = _span_kinds(rows, said)
    whole = _micro(_drawn(counts, weights_RN))
    return {
        "entity_f1": whole.f1[:, 0],
        "entity_precision": whole.precision[:, 0],
        "entity_recall": whole.recall[:, 0],
    }


def of_answers(rows: Sequence[Row], said: Sequence[Said], weights_RN: Floats) -> dict[str, Floats]:
    """Exact match and F1 of tokens, each against the best of a row's answers."""
    mean = _means(weights_RN)
    return {"token_f1": mean(_answer_f1(rows, said)), "exact_match": mean(_answer_exact(rows, said))}


def normalised_answer(text: str) -> list[str]:
    """The tokens of an answer that count: lower case, without punctuation and articles; characters of Chinese alone.

    Source: the evaluation script of SQuAD 1.1 (Rajpurkar et al. 2016), whose words are these where a text is English.

    >>> normalised_answer("The  Eiffel-Tower, 1889."), normalised_answer("在 巴黎")
    (['eiffeltower', '1889'], ['在', '巴', '黎'])
    """
    bare = "".join(character for character in text.lower() if character not in _PUNCTUATION)
    return _TOKEN.findall(re.sub(r"\b(a|an|the)\b", " ", bare))


def token_f1(answer: str, reference: str) -> float:
    """F1 of the tokens that two answers share; of two empty ones 1.

    >>> token_f1("in Paris", "Paris")
    0.6666666666666666
    """
    left, right = normalised_answer(answer), normalised_answer(reference)
    if not left or not right:
        return float(left == right)
    shared = sum((Counter(left) & Counter(right)).values())
    return 2 * shared / (len(left) + len(right))


def _answers(row: Row) -> list[str]:
    context = contents(row)[-1]
    return [context[start:end] for start, end, _ in spans_of(row.target)] or [""]


def _answer_f1(rows: Sequence[Row], said: Sequence[Said]) -> Floats:
    pairs = zip(rows, said, strict=True)
    return np.array([max(token_f1(each["answer"], true) for true in _answers(row)) for row, each in pairs])


def _answer_exact(rows: Sequence[Row], said: Sequence[Said]) -> Floats:
    pairs = zip(rows, said, strict=True)
    same = [
        any(normalised_answer(each["answer"]) == normalised_answer(true) for true in _answers(row))
        for row, each in pairs
    ]
    return np.array(same, dtype=np.float64)


def _label_kinds(rows: Sequence[Row], said: Sequence[Said]) -> tuple[tuple[str, ...], Counts]:
    true = [set(labels_of(row.target)) for row in rows]
    return _counted(
        [{(label,) for label in each} for each in true], [{(label,) for label in s["labels"]} for s in said]
    )


def _span_kinds(rows: Sequence[Row], said: Sequence[Said]) -> tuple[tuple[str, ...], Counts]:
    true = [{(span.label, span.start, span.end) for span in spans_of(row.target)} for row in rows]
    return _counted(true, [{(each["label"], each["start"], each["end"]) for each in s["spans"]} for s in said])


def _counted(true: Sequence[set[Any]], said: Sequence[set[Any]]) -> tuple[tuple[str, ...], Counts]:
    """For each row and kind what is right, said and true, [N, K]; the first of each item is its kind."""
    kinds = tuple(sorted({item[0] for items in (*true, *said) for item in items}))
    place = {kind: number for number, kind in enumerate(kinds)}

    def count(rows: Sequence[set[Any]]) -> Floats:
        found = np.zeros((len(rows), len(kinds)))
        for line, items in zip(found, rows, strict=True):
            for item in items:
                line[place[item[0]]] += 1
        return found

    both = [left & right for left, right in zip(true, said, strict=True)]
    return kinds, Counts(count(both), count(said), count(true))


def _drawn(counts: Counts, weights_RN: Floats) -> Counts:
    return Counts(*(weights_RN @ getattr(counts, name) for name in ("right", "said", "true")))


def _micro(counts: Counts) -> Counts:
    return Counts(*(getattr(counts, name).sum(axis=-1, keepdims=True) for name in ("right", "said", "true")))


def _all_right(rows: Sequence[Row], said: Sequence[Said]) -> Floats:
    pairs = zip(rows, said, strict=True)
    return np.array([float(set(labels_of(row.target)) == set(each["labels"])) for row, each in pairs])


def _span_f1(rows: Sequence[Row], said: Sequence[Said]) -> Floats:
    """F1 of each row's parts; 1 where it has none and none is said."""
    _, counts = _span_kinds(rows, said)
    whole = _micro(counts)
    return np.where((whole.said + whole.true)[:, 0] > 0, whole.f1[:, 0], 1.0)


def _closeness(rows: Sequence[Row], said: Sequence[Said]) -> Floats:
    true_N, said_N = _scores(rows, said)
    off_N = np.abs(true_N - said_N)
    return 1 - off_N / max(1e-12, float(off_N.max(initial=0.0)))


def _scores(rows: Sequence[Row], said: Sequence[Said]) -> tuple[Floats, Floats]:
    return np.array([score_of(row.target) for row in rows]), np.array([each["score"] for each in said])


def _means(weights_RN: Floats) -> Callable[[Floats], Floats]:
    totals_R = weights_RN.sum(axis=1)
    return lambda values_N: weights_RN @ values_N / totals_R


def _means_by_draw(weights_RN: Floats) -> Callable[[Floats], Floats]:
    totals_R = weights_RN.sum(axis=1)
    return lambda values_RN: (weights_RN * values_RN).sum(axis=1) / totals_R


def _ratio(top: Floats, bottom: Floats, *, where_none: float) -> Floats:
    return np.divide(top, bottom, out=np.full_like(top, where_none), where=bottom > 1e-12)


def _shown_labels(row: Row, said: Said | None) -> str:
    return " | ".join(labels_of(row.target) if said is None else said["labels"]) or "–"


def _shown_score(row: Row, said: Said | None) -> str:
    return f"{score_of(row.target) if said is None else said['score']:.3g}"


def _shown_spans(row: Row, said: Said | None) -> str:
    spans = [(s.start, s.end, s.label) for s in spans_of(row.target)]
    if said is not None:
        spans = [(each["start"], each["end"], each["label"]) for each in said["spans"]]
    return "; ".join(f"{row.text[start:end]} ({label})" for start, end, label in spans) or "–"


def _shown_answer(row: Row, said: Said | None) -> str:
    return (_answers(row)[0] if said is None else said["answer"]) or "–"


JUDGES: Mapping[str, Judge] = {
    "regress": Judge("r2", of_scores, _closeness, _shown_score),
    "grade": Judge("r2", of_scores, _closeness, _shown_score),
    "labels": Judge("micro_f1", of_labels, _all_right, _shown_labels, _label_kinds),
    "tag": Judge("entity_f1", of_spans, _span_f1, _shown_spans, _span_kinds),
    "answer": Judge("token_f1", of_answers, _answer_f1, _shown_answer),
}
