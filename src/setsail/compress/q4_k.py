"""Weights as Q4_K, GGUF's four bits with a scale and a floor for every 32 of them: 4.5 bits a weight.

A super-block is 256 weights in 8 blocks of 32. A weight x is kept as an integer q of 0 to 15 and read back as
`d·s·q - f·m`: `s` and `m` are six-bit numbers of the block, `d` and `f` half-precision numbers of the super-block. The
144 bytes are d, f, the 16 six-bit numbers in 12 bytes, and the integers two to a byte: the first 32 of each 64 in the
low halves, the others in the high ones. The format is ggml's (`block_q4_K`), the search for the numbers is ours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK = 32
BLOCKS = 8
SUPER_BLOCK = BLOCK * BLOCKS
SUPER_BLOCK_BYTES = 144
MOST = 15  # of an integer
MOST_SIX_BITS = 63
# How wide a range of integers a block's weights are laid over at first; the best one by its error is kept.
RANGES = np.linspace(13.0, 17.0, 17, dtype=np.float32)
CHUNK = 256  # super-blocks at once: what is worked on stays in the processor's cache

# B: blocks (8 of each super-block), S: super-blocks, 32 and 8 as above. The long axis is last: sums run across it.
Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]


def quantise_q4_k(weight: NDArray[np.float32]) -> Bytes:
    """The bytes of a weight, row by row: [..., n] becomes [..., n / 256 · 144].

    Raises: ValueError for rows that are no multiple of 256.
    """
    if weight.shape[-1] % SUPER_BLOCK:
        raise ValueError(f"rows of {weight.shape[-1]} weights are no multiple of {SUPER_BLOCK}")
    weights = weight.reshape(-1, SUPER_BLOCK)
    stored = np.empty((len(weights), SUPER_BLOCK_BYTES), dtype=np.uint8)
    for start in range(0, len(weights), CHUNK):
        stored[start : start + CHUNK] = _super_blocks(weights[start : start + CHUNK])
    return stored.reshape(*weight.shape[:-1], -1)


def _super_blocks(weights: NDArray[np.float32]) -> Bytes:
    """[S, 256] as [S, 144]."""
    x_32B = np.ascontiguousarray(weights.astype(np.float32, copy=False).reshape(-1, BLOCK).T)
    scale_B, floor_B = _fit(x_32B)
    unit_S, scale_8S = _six_bits(scale_B)
    floor_unit_S, floor_8S = _six_bits(floor_B)
    step_B = _spread(unit_S, scale_8S)
    q_32B = _integers(x_32B, step_B, _spread(floor_unit_S, floor_8S))
    return _pack(unit_S, floor_unit_S, scale_8S, floor_8S, q_32B)


def _fit(x_32B: Floats) -> tuple[Floats, Floats]:
    """For every block the scale and the floor, neither negative, under which its integers come nearest to it.

    Each range of integers tried gives integers, and these the scale and floor of least squares.
    """
    low_B = np.minimum(x_32B.min(axis=0), 0)
    span_B = np.maximum(x_32B.max(axis=0), 0) - low_B
    per_unit_B = np.divide(1, span_B, out=np.zeros_like(span_B), where=span_B > 0)
    sum_x_B, sum_xx_B = x_32B.sum(axis=0), np.square(x_32B).sum(axis=0)
    best_B = np.full_like(low_B, np.inf)
    scale_B, floor_B = span_B / MOST, -low_B
    shifted_32B = (x_32B - low_B) * per_unit_B
    for steps in RANGES:
        q_32B = np.minimum(np.rint(shifted_32B * steps), MOST)
        sum_q_B, sum_qq_B = q_32B.sum(axis=0), np.square(q_32B).sum(axis=0)
        sum_qx_B = (q_32B * x_32B).sum(axis=0)
        a_B, f_B = _least_squares(sum_x_B, sum_q_B, sum_qq_B, sum_qx_B)
        # What is left of the squares: |a·q - f - x|² written out.
        error_B = (
            sum_xx_B + a_B * (a_B * sum_qq_B - 2 * sum_qx_B) + f_B * (BLOCK * f_B + 2 * sum_x_B - 2 * a_B * sum_q_B)
        )
        better_B = error_B < best_B
        best_B = np.where(better_B, error_B, best_B)
        scale_B = np.where(better_B, a_B, scale_B)
        floor_B = np.where(better_B, f_B, floor_B)
    return scale_B, floor_B


def _least_squares(sum_x_B: Floats, sum_q_B: Floats, sum_qq_B: Floats, sum_qx_B: Floats) -> tuple[Floats, Floats]:
    """The scale a and floor f, neither negative, that make a·q - f nearest to x."""
    spread_B = BLOCK * sum_qq_B - sum_q_B * sum_q_B
    scale_B = np.divide(BLOCK * sum_qx_B - sum_q_B * sum_x_B, spread_B, out=np.zeros_like(spread_B), where=spread_B > 0)
    floor_B = (scale_B * sum_q_B - sum_x_B) / BLOCK
    through_zero_B = np.divide(sum_qx_B, sum_qq_B, out=np.zeros_like(sum_qq_B), where=sum_qq_B > 0)
    is_below_B = floor_B < 0
    return np.maximum(np.where(is_below_B, through_zero_B, scale_B), 0), np.maximum(floor_B, 0)


def _six_bits(values_B: Floats) -> tuple[NDArray[np.float16], Bytes]:
    """A unit for every super-block, in half precision, and its eight values in so many units of 0 to 63."""
    values_8S = values_B.reshape(-1, BLOCKS).T
    unit_S = (values_8S.max(axis=0) / MOST_SIX_BITS).astype(np.float16)
    exact_S = unit_S.astype(np.float32)
    units_8S = np.divide(values_8S, exact_S, out=np.zeros_like(values_8S), where=exact_S > 0)
    return unit_S, np.minimum(np.rint(units_8S), MOST_SIX_BITS).astype(np.uint8)


def _spread(unit_S: NDArray[np.float16], units_8S: Bytes) -> Floats:
    """The value of every block again, as a reader computes it."""
    return (unit_S.astype(np.float32) * units_8S.astype(np.float32)).T.reshape(-1)


def _integers(x_32B: Floats, step_B: Floats, floor_B: Floats) -> Bytes:
    """The integers that come nearest under the numbers that are really stored."""
    q_32B = np.divide(x_32B + floor_B, step_B, out=np.zeros_like(x_32B), where=step_B > 0)
    return np.clip(np.rint(q_32B), 0, MOST).astype(np.uint8)


def _pack(
    unit_S: NDArray[np.float16], floor_unit_S: NDArray[np.float16], scale_8S: Bytes, floor_8S: Bytes, q_32B: Bytes
) -> Bytes:
    units_S4 = np.stack([unit_S, floor_unit_S], axis=-1).astype("<f2").view(np.uint8)
    # The first four blocks' numbers have a byte each; the others' low halves share one, their high bits fill up those.
    first_4S = scale_8S[:4] | (scale_8S[4:] >> 4) << 6
    second_4S = floor_8S[:4] | (floor_8S[4:] >> 4) << 6
    third_4S = (scale_8S[4:] & 0xF) | (floor_8S[4:] & 0xF) << 4
    six_bits_S12 = np.concatenate([first_4S, second_4S, third_4S]).T
    q_S42 = q_32B.T.reshape(-1, BLOCKS // 2, 2, BLOCK)
    halves_S128 = (q_S42[:, :, 0] | q_S42[:, :, 1] << 4).reshape(len(unit_S), -1)
    return np.concatenate([units_S4, six_bits_S12, halves_S128], axis=-1, dtype=np.uint8)
