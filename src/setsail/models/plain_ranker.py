"""A saved ranker as anybody loads it: transformers' own classes, a query and a text as one sequence, one logit.

What is said with it is what others get from the folder; the faithfulness check holds the trainer against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from setsail.base.errors import ModelError
from setsail.models.plain_reader import load_plain

PAIRS_AT_ONCE = 32
Pair = tuple[str, str]


@dataclass(frozen=True)
class PlainRanker:
    """A cross-encoder in float32; of pairs longer than `context` tokens the longer text loses its end."""

    model: Any
    tokenizer: Any
    context: int

    def ids(self, pair: Pair) -> list[int]:
        """A pair's token ids, whole."""
        return list(self.tokenizer(*pair)["input_ids"])

    def logits(self, pairs: Sequence[Pair], *, at_once: int = PAIRS_AT_ONCE) -> NDArray[np.float64]:
        """Logits [N] in the order of the pairs, `at_once` of them padded to one length; similar ones together."""
        found = np.zeros(len(pairs))
        order = sorted(range(len(pairs)), key=lambda index: sum(map(len, pairs[index])))
        with torch.inference_mode():
            for start in range(0, len(order), at_once):
                members = order[start : start + at_once]
                queries, texts = ([pairs[index][side] for index in members] for side in (0, 1))
                batch = self.tokenizer(
                    queries, texts, padding=True, truncation=True, max_length=self.context, return_tensors="pt"
                )
                found[members] = self.model(**batch.to(self.model.device)).logits[:, 0].double().cpu().numpy()
        return found


def load_ranker(folder: Path) -> PlainRanker:
    """The ranker of a folder.

    Raises: ModelError for a folder that is damaged or holds no model with one logit.
    """
    plain = load_plain(folder)
    if len(plain.labels) != 1:
        hint = "a ranker has one: BertForSequenceClassification with num_labels 1"
        raise ModelError(f"the model has {len(plain.labels)} logits", place=str(folder), hint=hint)
    return PlainRanker(plain.model, plain.tokenizer, plain.context)
