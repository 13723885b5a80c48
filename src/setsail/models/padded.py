"""Texts, or pairs of them, in padded batches by transformers' own tokenizer, similar lengths together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any


def padded_batches(
    tokenizer: Any, texts: Sequence[str | tuple[str, ...]], *, context: int, at_once: int, device: Any
) -> Iterator[tuple[list[int], Any]]:
    """Places of `at_once` texts, and their ids and mask [at_once, T]; what is longer than `context` loses its end.

    Of two texts the second does.
    """
    whole = [(text,) if isinstance(text, str) else text for text in texts]
    order = sorted(range(len(whole)), key=lambda index: sum(map(len, whole[index])))
    for start in range(0, len(order), at_once):
        members = order[start : start + at_once]
        columns = [list(column) for column in zip(*(whole[index] for index in members), strict=True)]
        cut = "only_second" if len(columns) == 2 else True
        batch = tokenizer(*columns, padding=True, truncation=cut, max_length=context, return_tensors="pt")
        yield members, batch.to(device)
