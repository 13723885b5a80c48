"""Texts with a part hidden, for models that learn to restore it: tokens under a mask, or spans cut out.

`Example.loss_mask` goes in as what may be hidden (a text's own tokens, not what the tokenizer puts around it) and comes
out as what is. The invariants: which tokens are hidden is a function of the example and of the name of the draw alone,
and a text can be rebuilt from its corrupted form and its targets.

Legend: N tokens that may be hidden, K that are, S spans in which they stand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from random import Random

import numpy as np
import numpy.typing as npt

from setsail.tokens.pack import NOT_SUPERVISED, Example

Ids = npt.NDArray[np.int64]


def hide_tokens(example: Example, share: float, draw: str) -> Example:
    """The example with `share` of its tokens hidden, each as likely as any other; at least one.

    The number is rounded up or down at random, so that the share holds on average at every length.
    """
    chance = Random(f"hide tokens:{draw}")
    places = np.flatnonzero(example.loss_mask)
    num_hidden = max(1, math.floor(len(places) * share + chance.random()))
    return _hiding(example, places[chance.sample(range(len(places)), num_hidden)])


def hide_spans(example: Example, share: float, mean_length: float, draw: str) -> Example:
    """The example with `share` of its tokens hidden, in spans of `mean_length` tokens on average; at least one.

    Source: Raffel et al. 2020 (arXiv 1910.10683), section 3.3.4, where both numbers follow from the length alone and
    all ways to cut the text into spans are equally likely. We differ in letting a text begin with a span and end
    without one: theirs never hides the first token and always hides the last.
    """
    chance = Random(f"hide spans:{draw}")
    places = np.flatnonzero(example.loss_mask)
    num_hidden, num_spans = span_counts(len(places), share, mean_length)
    hidden = _parts(num_hidden, num_spans, chance)
    # Between two spans stands at least one token; before the first and after the last there may be none.
    kept = _parts(len(places) - num_hidden + 2, num_spans + 1, chance)
    kept[0] -= 1
    at, chosen = 0, []
    for before, length in zip(kept, hidden, strict=False):
        chosen += range(at + before, at + before + length)
        at += before + length
    return _hiding(example, places[chosen])


def span_counts(num_tokens: int, share: float, mean_length: float) -> tuple[int, int]:
    """How many of `num_tokens` are hidden, and in how many spans.

    >>> span_counts(100, 0.15, 3.0)
    (15, 5)
    """
    num_hidden = min(num_tokens, max(1, round(num_tokens * share)))
    num_spans = max(1, round(num_hidden / mean_length))
    return num_hidden, min(num_spans, num_hidden, num_tokens - num_hidden + 1)


def mask_out(example: Example, mask_id: int) -> tuple[Ids, Ids]:
    """The ids with `mask_id` for what is hidden, and as targets what stood there; nothing is shifted.

    Source: Wettig et al. 2023 (arXiv 2202.08005), who find a mask alone no worse than the rule of Devlin et al. 2019
    (arXiv 1810.04805), by which a tenth of the chosen tokens stays and a tenth becomes a random one.
    """
    ids = example.ids.astype(np.int64)
    return np.where(example.loss_mask, mask_id, ids), np.where(example.loss_mask, ids, NOT_SUPERVISED)


def cut_out(example: Example, sentinels: Sequence[int], end_id: int) -> tuple[Ids, Ids]:
    """The ids with one sentinel for each hidden span, and as targets each sentinel with its span, then `end_id`.

    Source: Raffel et al. 2020 (arXiv 1910.10683), figure 2, and T5's code: no sentinel stands behind the last span.
    """
    hidden = example.loss_mask
    starts = hidden & ~np.concatenate([[False], hidden[:-1]])
    assert starts.sum() <= len(sentinels), f"{example.row_id}: {starts.sum()} spans and {len(sentinels)} sentinels"
    inputs: list[int] = []
    targets: list[int] = []
    num_spans = 0
    for token, is_hidden, begins in zip(example.ids.tolist(), hidden.tolist(), starts.tolist(), strict=True):
        if begins:
            inputs.append(sentinels[num_spans])
            targets.append(sentinels[num_spans])
            num_spans += 1
        (targets if is_hidden else inputs).append(token)
    return np.array(inputs, dtype=np.int64), np.array([*targets, end_id], dtype=np.int64)


def _hiding(example: Example, places: npt.NDArray[np.intp]) -> Example:
    hidden = np.zeros(len(example.ids), dtype=np.bool_)
    hidden[places] = True
    return replace(example, loss_mask=hidden)


def _parts(total: int, num_parts: int, chance: Random) -> list[int]:
    """`total` as a sum of `num_parts` numbers of at least one; every such sum in its order is equally likely."""
    cuts = [0, *sorted(chance.sample(range(1, total), num_parts - 1)), total]
    return [end - start for start, end in pairwise(cuts)]
