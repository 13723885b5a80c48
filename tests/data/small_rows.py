"""Rows that differ from each other, by number."""

from __future__ import annotations

WORDS = (
    *("amber", "basil", "cedar", "delta", "ember", "fjord", "grove", "heron", "ivory"),
    *("jolly", "kayak", "lemon", "mango", "nylon", "olive", "pearl", "quilt", "raven"),
)


def pair(number: int) -> dict[str, str]:
    """A question and answer unlike every other number's."""
    words = [WORDS[(number * (place + 3) + place * place) % len(WORDS)] for place in range(12)]
    question = f"Question {number}: {' '.join(words[:6])}?"
    return {"prompt": question, "completion": f"Answer {number}: {' '.join(words)}."}
