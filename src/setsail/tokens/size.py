"""How large a vocabulary should be, by measuring: one training at the largest size, cut at smaller ones.

The rule: begin with the smallest size and double while a doubling still shortens held-out text by LEAST_GAIN and the
embeddings take no more than MOST_SHARE of the model. A doubling of the vocabulary doubles what embeddings cost; a
shorter text gives back its share of every layer's work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tokenizers.pre_tokenizers import PreTokenizer

from setsail.tokens.fast import fast_encoder
from setsail.tokens.train import Bpe, Marks, bpe_backend

SIZES = (1024, 2048, 4096, 8192, 16384, 32768, 65536)
CHOSEN_FOR_PIECES = 8192  # of the other kinds, which are not measured
LEAST_GAIN = 0.05
MOST_SHARE = 1 / 3


@dataclass(frozen=True)
class Point:
    """One size: bytes of held-out text in a token, and what share of the model's parameters its embeddings are."""

    vocabulary: int
    bytes_per_token: float
    embedding_share: float


def measure(
    learned: Bpe, marks: Marks, cut: PreTokenizer, held_out: Sequence[str], share_of: Callable[[int], float]
) -> tuple[Point, ...]:
    """A point for each of SIZES that the texts filled, and for what they filled in all."""
    num_bytes = sum(len(text.encode("utf-8")) for text in held_out)
    sizes = [size for size in SIZES if size < len(learned.tokens)] + [len(learned.tokens)]
    points = []
    for size in sizes:
        backend = bpe_backend(learned.cut(size), marks, cut)
        encode = fast_encoder(backend).encode or (lambda text, b=backend: b.encode(text).ids)
        num_tokens = sum(len(encode(text)) for text in held_out)
        points.append(Point(size, num_bytes / max(1, num_tokens), share_of(size)))
    return tuple(points)


def choose(points: Sequence[Point]) -> Point:
    """The size that the rule takes."""
    chosen = points[0]
    for point in points[1:]:
        doublings = point.vocabulary / chosen.vocabulary - 1
        gain = 1 - chosen.bytes_per_token / point.bytes_per_token
        if gain < LEAST_GAIN * min(1.0, doublings) or point.embedding_share > MOST_SHARE:
            break
        chosen = point
    return chosen


def table(points: Sequence[Point], chosen: Point) -> list[str]:
    """The curve, for a person."""
    lines = [f"{'vocabulary':>10}  {'bytes per token':>15}  {'embeddings':>10}"]
    for point in points:
        mark = "  ← taken" if point == chosen else ""
        lines.append(f"{point.vocabulary:>10,}  {point.bytes_per_token:>15.2f}  {point.embedding_share:>10.0%}{mark}")
    return lines
