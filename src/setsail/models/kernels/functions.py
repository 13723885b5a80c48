"""The kernels as differentiable functions of tensors. Callers ask `can_compute` first; nothing falls back in silence.

Legend: T tokens of a packed row, H query heads, G key-value heads, C channels of a head, D channels of a token.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from setsail.models.kernels.library import Attention, have_kernels, library

_SUFFIX = {torch.float32: "f32", torch.bfloat16: "bf16"}
_SLICE = 64  # tokens of a partial sum, as in kernels.cpp


def can_compute(tensor: Tensor) -> bool:
    """Whether the kernels know this device and number format, and are at hand."""
    return tensor.device.type == "cpu" and tensor.dtype in _SUFFIX and have_kernels()


@dataclass(frozen=True)
class Documents:
    """Where the documents of a packed row stand, and who may look at whom in them. `window` 0 means none."""

    starts: Tensor  # int32 [documents + 1], on the CPU
    causal: bool
    scale: float
    window: int = 0


def attend(query_THC: Tensor, key_TGC: Tensor, value_TGC: Tensor, documents: Documents) -> Tensor:
    """Attention inside each document, [T, H, C]; softmax and sums in float32."""
    return _Attend.apply(query_THC, key_TGC, value_TGC, documents)


def rotary_attend(states: Tensor, angles: tuple[Tensor, Tensor], shape: tuple[int, int, int], documents: Documents):
    """Attention from query, key and value side by side in `states` [T, (H+2G)·C], with `shape` = (H, G, C).

    Queries and keys are turned by the cosines and sines [T, C] first. Mutates: `states`, whose memory it takes over.
    """
    return _RotaryAttend.apply(states, *angles, shape, documents)


def rms_norm(inputs: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Each token divided by its root mean square, times `weight` [D]; rounded once."""
    return _RmsNorm.apply(inputs, weight, epsilon)


def swiglu(gate_and_up: Tensor) -> Tensor:
    """silu(gate)·up of [T, 2D], gate and up side by side → [T, D]."""
    return _SwiGlu.apply(gate_and_up)


def cross_entropy_(logits: Tensor, targets: Tensor) -> Tensor:
    """Nats [T] of logits [T, V]. Mutates: the logits become the gradient of the nats' sum by them."""
    nats = torch.empty(len(logits), dtype=torch.float32)
    assert logits.is_contiguous() and targets.is_contiguous() and targets.dtype == torch.int64
    _call("cross_entropy", logits, logits, targets, nats, *logits.shape, torch.get_num_threads())
    return nats


def add_(sums: Tensor, values: Tensor) -> None:
    """Adds `values` to float32 `sums` of the same shape; without kernels, or for mixed layouts, torch does.

    Torch first writes the values again as float32, which moves twice as much memory. Mutates: `sums`.
    """
    alike = sums.dtype == torch.float32 and sums.stride() == values.stride() and values.is_contiguous()
    if alike and can_compute(values):
        _call("accumulate", values, sums, values, values.numel(), torch.get_num_threads())
    else:
        sums.add_(values)


def _call(name: str, like: Tensor, *arguments: Any) -> None:
    """Calls the kernel for the number format of `like`; tensors go as pointers."""
    pointers = [argument.data_ptr() if isinstance(argument, Tensor) else argument for argument in arguments]
    getattr(library(), f"{name}_{_SUFFIX[like.dtype]}")(*pointers)


def _side_by_side(states: Tensor) -> Tensor:
    """[T, heads, C] with the heads of a token side by side: as it is if it is so."""
    is_so = states.stride(2) == 1 and (states.stride(1) == states.shape[2] or states.shape[1] == 1)
    return states if is_so else states.contiguous()


def _settings(query: Tensor, key: Tensor, value: Tensor, output: Tensor, documents: Documents) -> Any:
    settings = Attention(
        starts=documents.starts.data_ptr(),
        documents=len(documents.starts) - 1,
        heads=query.shape[1],
        groups=key.shape[1],
        channels=query.shape[2],
        causal=documents.causal,
        window=documents.window,
        scale=documents.scale,
        threads=torch.get_num_threads(),
        query_stride=query.stride(0),
        key_stride=key.stride(0),
        value_stride=value.stride(0),
        output_stride=output.stride(0),
    )
    return ctypes.byref(settings)


def _attend(query: Tensor, key: Tensor, value: Tensor, documents: Documents) -> tuple[Tensor, Tensor]:
    output = torch.empty(query.shape, dtype=query.dtype)
    log_sums = torch.empty(query.shape[1], len(query), dtype=torch.float32)
    settings = _settings(query, key, value, output, documents)
    _call("attend", query, settings, query, key, value, output, log_sums, len(query))
    return output, log_sums


class _Attend(Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, documents: Documents) -> Tensor:
        query, key, value = _side_by_side(query), _side_by_side(key), _side_by_side(value)
        output, log_sums = _attend(query, key, value, documents)
        ctx.save_for_backward(query, key, value, output, log_sums)
        ctx.documents = documents
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, output, log_sums = ctx.saved_tensors
        made = [torch.empty_strided(x.shape, x.stride(), dtype=x.dtype) for x in (query, key, value)]
        settings = _settings(query, key, value, output, ctx.documents)
        inputs = (query, key, value, output, log_sums, grads[0].contiguous())
        _call("attend_backward", query, settings, *inputs, *made, len(query))
        return *made, None


class _RotaryAttend(Function):
    @staticmethod
    def forward(
        ctx: Any, states: Tensor, cosines: Tensor, sines: Tensor, shape: tuple[int, int, int], documents: Documents
    ) -> Tensor:
        _rotate_(states, cosines, sines, shape, sign=1.0)
        query, key, value = _parts(states, shape)
        output, log_sums = _attend(query, key, value, documents)
        ctx.save_for_backward(states, cosines, sines, output, log_sums)
        ctx.shape, ctx.documents = shape, documents
        return output.flatten(1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        states, cosines, sines, output, log_sums = ctx.saved_tensors
        query, key, value = _parts(states, ctx.shape)
        made = torch.empty_like(states)
        settings = _settings(query, key, value, output, ctx.documents)
        inputs = (query, key, value, output, log_sums, grads[0].contiguous())
        _call("attend_backward", states, settings, *inputs, *_parts(made, ctx.shape), len(states))
        _rotate_(made, cosines, sines, ctx.shape, sign=-1.0)
        return made, None, None, None, None


def _parts(states: Tensor, shape: tuple[int, int, int]) -> list[Tensor]:
    """Query, key and value as [T, heads, C] views of states that lie side by side."""
    heads, groups, channels = shape
    parts = states.split([heads * channels, groups * channels, groups * channels], dim=1)
    return [part.unflatten(1, (-1, channels)) for part in parts]


def _rotate_(states: Tensor, cosines: Tensor, sines: Tensor, shape: tuple[int, int, int], *, sign: float) -> None:
    heads, groups, channels = shape
    where = (len(states), heads + groups, channels)
    _call("rotate", states, states, states.stride(0), cosines, sines, *where, sign, torch.get_num_threads())


class _RmsNorm(Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        inputs = inputs.contiguous()
        output = torch.empty_like(inputs)
        size = inputs.shape[-1]
        scales = torch.empty(inputs.numel() // size, dtype=torch.float32)
        _call("rms_norm", inputs, inputs, weight, output, scales, len(scales), size, epsilon, torch.get_num_threads())
        ctx.save_for_backward(inputs, weight, scales)
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight, scales = ctx.saved_tensors
        size, made = inputs.shape[-1], torch.empty_like(inputs)
        sums = None
        if ctx.needs_input_grad[1]:
            sums = torch.zeros(-(-len(scales) // _SLICE), size, dtype=torch.float32)
        tensors = (grads[0].contiguous(), inputs, weight, scales, made, sums)
        _call("rms_norm_backward", inputs, *tensors, len(scales), size, torch.get_num_threads())
        return made, None if sums is None else sums.sum(0).to(weight.dtype), None


class _SwiGlu(Function):
    @staticmethod
    def forward(ctx: Any, gate_and_up: Tensor) -> Tensor:
        gate_and_up = gate_and_up.contiguous()
        num_tokens, size = gate_and_up.shape[0], gate_and_up.shape[1] // 2
        output = torch.empty(num_tokens, size, dtype=gate_and_up.dtype)
        _call("swiglu", gate_and_up, gate_and_up, output, num_tokens, size, torch.get_num_threads())
        ctx.save_for_backward(gate_and_up)
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (gate_and_up,) = ctx.saved_tensors
        made = torch.empty_like(gate_and_up)
        where = (gate_and_up.shape[0], gate_and_up.shape[1] // 2)
        _call("swiglu_backward", made, grads[0].contiguous(), gate_and_up, made, *where, torch.get_num_threads())
        return made
