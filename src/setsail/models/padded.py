"""Texts in padded batches by transformers' own tokenizer, similar lengths together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any


def padded_batches(
    tokenizer: Any, texts: Sequence[str], *, context: int, at_once: int, device: Any
) -> Iterator[tuple[list[int], Any]]:
    """Places of `at_once` texts, and their ids and mask [at_once, T]; what is longer than `context` loses its end."""
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    for start in range(0, len(order), at_once):
        members = order[start : start + at_once]
        chosen = [texts[index] for index in members]
        batch = tokenizer(chosen, padding=True, truncation=True, max_length=context, return_tensors="pt")
        yield members, batch.to(device)
