"""How well texts are found or ordered, query by query, and how well scores agree with people's.

A text with a grade above 0 is relevant. Figures are those of trec_eval: linear gains, and what stands behind the cut
counts nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

DEPTH = 100  # how far orders are looked at
_CUT = 10
_RECALL = (1, 10, 100)
SEARCH_METRICS = ("ndcg_at_10", "mrr_at_10", *(f"recall_at_{cut}" for cut in _RECALL))


def best_first(scores: NDArray[np.floating]) -> NDArray[np.int64]:
    """The places of the highest scores, at most 100, the best first; of equals the first."""
    if len(scores) > 4 * DEPTH:
        places = np.flatnonzero(scores >= -np.partition(-scores, DEPTH - 1)[DEPTH - 1])
    else:
        places = np.arange(len(scores))
    return places[np.argsort(-scores[places], kind="stable")][:DEPTH]


def found_at(order: Sequence[int], grades: Mapping[int, float]) -> int | None:
    """The rank of the first relevant text, from 1; None where none is in the order."""
    return next((rank for rank, text in enumerate(order, 1) if grades.get(text, 0.0) > 0), None)


def order_figures(order: Sequence[int], grades: Mapping[int, float]) -> dict[str, float]:
    """nDCG@10, reciprocal rank at 10 and recall at 1, 10 and 100 of one query's order of texts.

    Source: Järvelin and Kekäläinen 2002 for nDCG, as trec_eval computes it. `grades` holds a relevant text.

    >>> figures = order_figures([7, 3], {3: 1.0})
    >>> round(figures["ndcg_at_10"], 3), figures["mrr_at_10"], figures["recall_at_1"]
    (0.631, 0.5, 0.0)
    """
    relevant = {text: grade for text, grade in grades.items() if grade > 0}
    assert relevant, "a query without a relevant text has no figures"
    gains = [relevant.get(text, 0.0) for text in order[:_CUT]]
    ideal = sorted(relevant.values(), reverse=True)[:_CUT]
    first = found_at(order[:_CUT], grades)
    recall = {f"recall_at_{cut}": len(relevant.keys() & set(order[:cut])) / len(relevant) for cut in _RECALL}
    return {"ndcg_at_10": _discounted(gains) / _discounted(ideal), "mrr_at_10": 1 / first if first else 0.0, **recall}


def _discounted(gains: Sequence[float]) -> float:
    return float(sum(gain / np.log2(rank + 1) for rank, gain in enumerate(gains, 1)))


def spearman(said: NDArray[np.floating], true: NDArray[np.floating]) -> float:
    """Spearman's rank correlation, ties sharing their ranks; 0 where either side is all one value.

    >>> spearman(np.array([0.1, 0.4, 0.2]), np.array([1.0, 3.0, 2.0]))
    1.0
    """
    left, right = (rankdata(values) - (len(values) + 1) / 2 for values in (said, true))
    spread = float(np.sqrt((left**2).sum() * (right**2).sum()))
    return float((left * right).sum()) / spread if spread else 0.0
