"""How often each token stands in the training texts, and nothing else: what a model that restores text must beat.

A model that has learned only which tokens are frequent pays as much.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.integer]


def unigram_nats(texts: Sequence[Ids], num_ids: int) -> npt.NDArray[np.float64]:
    """The nats that each of `num_ids` tokens costs by its share in the texts; one is added to each count (Laplace)."""
    counts = np.ones(num_ids)
    for ids in texts:
        counts += np.bincount(ids, minlength=num_ids)
    return np.log(counts.sum()) - np.log(counts)
