"""Packed rows with documents kept apart: an attention function that transformers' own model classes use.

A packed row is [1, T] with `document_starts` (first 0, last T) handed to the model's forward as a keyword. Each
document attends to itself alone, as if the others were not there; the cost is the sum of L² over documents, not T².
Without `document_starts` the function is transformers' `sdpa`, padding masks and key-value cache included. The compiled
kernel attends where there is one; plain torch groups documents of similar length.

Legend: T tokens of the row, D+1 document bounds, N documents of a bucket, L its padded length, H heads, G key-value
heads, C channels of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from setsail.models.kernels import functions as kernels

NAME = "documents"

# A bucket holds documents at least this fraction as long as its longest: below it padding costs more than another call.
SHORTEST_IN_BUCKET = 0.75

# The backward pass of torch's bf16 attention on CPUs takes several times that of float32 on short documents (measured
# 4 times at 40 tokens, 2 at 256, less than 1 at 512): where gradients are needed, short ones are computed in float32.
LONGEST_IN_FLOAT32 = 256

# Keywords that change what attention computes and that this function does not know; sdpa itself ignores some of them in
# silence.
UNSUPPORTED = ("softcap", "position_bias", "s_aux", "cache")


def register() -> None:
    """Make `attn_implementation="documents"` known to transformers, with its mask (else masks are None in silence)."""
    AttentionInterface.register(NAME, documents_attention)
    AttentionMaskInterface.register(NAME, documents_mask)


class PackedMask:
    """The dense mask of a packed row, built only where it is needed; None where every token sees all."""

    def __init__(self, build: Callable[[], torch.Tensor | None]) -> None:
        self._build = build
        self._dense: torch.Tensor | None = None
        self._is_built = False

    def dense(self) -> torch.Tensor | None:
        if not self._is_built:
            self._dense, self._is_built = self._build(), True
        return self._dense


def documents_mask(**arguments: Any) -> torch.Tensor | PackedMask | None:
    """transformers' sdpa mask, except that the T×T mask of a packed row is put off until it is needed."""
    is_packed = arguments.get("attention_mask") is None and arguments.get("allow_is_causal_skip") is False
    if is_packed and arguments["q_length"] == arguments["kv_length"] > 1:
        return PackedMask(lambda: sdpa_mask(**arguments))
    return sdpa_mask(**arguments)


def documents_attention(
    module: torch.nn.Module,
    query: torch.Tensor,  # [B, H, T, C]
    key: torch.Tensor,  # [B, G, T, C]
    value: torch.Tensor,
    attention_mask: torch.Tensor | PackedMask | None,
    document_starts: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention output [B, T, H, C]; each document of a packed row alone, or plain sdpa without `document_starts`.

    Raises: ValueError for a batch that is not one packed row without padding and cache.
    """
    if document_starts is None:
        mask = attention_mask.dense() if isinstance(attention_mask, PackedMask) else attention_mask
        return sdpa_attention_forward(module, query, key, value, mask, **kwargs)
    bounds = tuple(document_starts.tolist())
    _check_packed(query, key, attention_mask, bounds, kwargs)
    rows = [states.transpose(1, 2)[0] for states in (query, key, value)]  # [T, heads, C]
    causal = _is_causal(module, kwargs)
    window = kwargs.get("sliding_window")
    # The kernel's window looks back alone; one that no document exceeds is none.
    is_band = not causal and window is not None and max(end - start for start, end in pairwise(bounds)) > window
    if kernels.can_compute(query) and not kwargs.get("dropout") and not is_band:
        scale = kwargs.get("scaling") or query.shape[-1] ** -0.5
        documents = kernels.Documents(document_starts, causal, scale, window or 0 if causal else 0)
        return kernels.attend(rows[0], rows[1], rows[2], documents).unsqueeze(0), None
    attend = _attend(kwargs, causal=causal)
    plan = plan_buckets(bounds, query.device, SHORTEST_IN_BUCKET if causal else 1.0)
    if plan.only:
        return attend(*(row.unsqueeze(0) for row in rows)), None
    outputs = [attend(*(_gather(row, bucket) for row in rows)).flatten(0, 1) for bucket in plan.buckets]  # [N·L, H, C]
    return torch.cat(outputs).index_select(0, plan.restore).unsqueeze(0), None


@dataclass(frozen=True)
class Bucket:
    """Documents of similar length: which token of the row stands at each place of the padded [N, L]."""

    index: torch.Tensor  # [N·L]
    num_documents: int
    length: int


@dataclass(frozen=True)
class Plan:
    """How a row is cut into buckets, and where each of its tokens is found in their concatenated outputs."""

    buckets: tuple[Bucket, ...]
    restore: torch.Tensor  # [T]
    only: bool  # one document: nothing to gather


@lru_cache(maxsize=16)  # every layer of a step asks for the same plan
def plan_buckets(bounds: tuple[int, ...], device: torch.device, shortest: float = SHORTEST_IN_BUCKET) -> Plan:
    """Group documents at least `shortest` of their longest's length; a row of one document is left as it is."""
    documents = sorted(pairwise(bounds), key=lambda span: span[0] - span[1])
    restore = torch.empty(bounds[-1], dtype=torch.long)
    buckets: list[Bucket] = []
    offset = 0
    while documents:
        length = documents[0][1] - documents[0][0]
        taken = [span for span in documents if span[1] - span[0] >= shortest * length]
        documents = documents[len(taken) :]
        places = torch.arange(length)
        # A padded place repeats the document's last token: it stands after all of them, so that no real token sees it.
        # Where tokens look ahead, documents of one bucket are equally long and no place is padded.
        index = torch.cat([(start + places).clamp(max=end - 1) for start, end in taken])
        for number, (start, end) in enumerate(taken):
            restore[start:end] = torch.arange(end - start) + offset + number * length
        offset += len(taken) * length
        buckets.append(Bucket(index.to(device), len(taken), length))
    return Plan(tuple(buckets), restore.to(device), only=len(bounds) == 2)


def _gather(row: torch.Tensor, bucket: Bucket) -> torch.Tensor:
    """[T, heads, C] → [N, L, heads, C]."""
    return row.index_select(0, bucket.index).unflatten(0, (bucket.num_documents, bucket.length))


def _is_causal(module: torch.nn.Module, kwargs: dict[str, Any]) -> bool:
    """Whether a token sees only what stands before it: as the call says, else as the layer does, as in transformers."""
    said = kwargs.get("is_causal")
    return bool(getattr(module, "is_causal", True) if said is None else said)


def _attend(kwargs: dict[str, Any], *, causal: bool) -> Callable[..., torch.Tensor]:
    """Attention over [N, L, heads, C] with the layer's scale, dropout and window, both ways unless `causal`."""
    window = kwargs.get("sliding_window")
    dropout, scale = kwargs.get("dropout", 0.0), kwargs.get("scaling")

    def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        length = query.shape[1]
        mask = _band(length, window, query.device, causal) if window is not None and length > window else None
        dtype = torch.float32 if _is_faster_in_float32(query, length) else query.dtype
        states = [x.to(dtype).transpose(1, 2) for x in (query, key, value)]
        grouped = states[0].shape[1] != states[1].shape[1]
        output = scaled_dot_product_attention(
            *states,
            attn_mask=mask,
            dropout_p=dropout,
            is_causal=causal and mask is None,
            scale=scale,
            enable_gqa=grouped,
        )
        return output.transpose(1, 2).to(query.dtype)

    return attend


def _is_faster_in_float32(query: torch.Tensor, length: int) -> bool:
    is_short_bf16 = query.dtype == torch.bfloat16 and query.device.type == "cpu" and length <= LONGEST_IN_FLOAT32
    return is_short_bf16 and torch.is_grad_enabled() and query.requires_grad


def _band(length: int, window: int, device: torch.device, causal: bool) -> torch.Tensor:
    """True where a token may look: itself and the `window` - 1 before it, and unless causal as many after it."""
    band = torch.ones(length, length, dtype=torch.bool, device=device).triu(1 - window)
    return band.tril(0 if causal else window - 1)


def _check_packed(
    query: torch.Tensor,
    key: torch.Tensor,
    attention_mask: torch.Tensor | PackedMask | None,
    bounds: tuple[int, ...],
    kwargs: dict[str, Any],
) -> None:
    """Refuse what packing cannot mean: a batch, padding, a cache, bounds that do not cut the row, other attention."""
    num_tokens = query.shape[2]
    if query.shape[0] != 1 or key.shape[2] != num_tokens:
        raise ValueError(f"document_starts needs one packed row and no cache, got a batch of {query.shape[0]}")
    if isinstance(attention_mask, torch.Tensor):
        raise ValueError("document_starts and attention_mask exclude each other: a packed row has no padding")
    is_cut = bounds[:1] == (0,) and bounds[-1] == num_tokens
    if not is_cut or any(start >= end for start, end in pairwise(bounds)):
        raise ValueError(f"document_starts must rise from 0 to {num_tokens}, got {list(bounds)}")
    unknown = [name for name in UNSUPPORTED if kwargs.get(name) is not None]
    if unknown:
        raise ValueError(f"packed rows do not support attention with {', '.join(unknown)}")
