"""Faster forwards for a transformer's modules: joined projections, and kernels for what is no matrix product.

`fuse` walks a model and gives a module another `forward` where it recognises what the module computes by its parts, and
only after both computed the same on random input. Nothing else changes: names, weights, classes and files are as
before, and a family that is not recognised is left as it is. The invariant: a fused module is its original, within
rounding, forward and backward.

Legend: T tokens, D channels of a token, H query heads, G key-value heads, C channels of a head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from setsail.models.kernels import functions as kernels
from setsail.models.lora import LoraLinear

# How far a fused module may be from its original, relative to the largest output: a few roundings of either format.
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 4e-2}
PROBE_BOUNDS = (0, 7, 16)  # two documents

Forward = Callable[..., Any]


def fuse(model: nn.Module) -> list[str]:
    """Gives every recognised module its faster forward; returns their names, none where kernels cannot compute.

    Mutates: joined projections share one block of memory from now on; `unfuse` parts them again.
    """
    weight = next(model.parameters())
    if not kernels.can_compute(weight):
        return []
    fused = []
    for name, module in model.named_modules():
        faster = _faster(module)
        if faster is not None and _agree(model, faster):
            module.forward = faster
            fused.append(name)
    return fused


def unfuse(model: nn.Module) -> None:
    """Gives every module its own forward back, and every weight memory of its own."""
    for module in model.modules():
        if isinstance(module.__dict__.get("forward"), _Faster):
            del module.forward
    for weight in model.parameters():
        if weight.untyped_storage().nbytes() > weight.numel() * weight.element_size():
            weight.data = weight.data.clone()


class _Faster:
    """A forward for `module`; the module's own is `original`."""

    __call__: Forward

    def __init__(self, module: Any) -> None:
        self.module = module
        self.original: Forward = module.forward

    def weight(self) -> Tensor:
        """The weight that the input meets first: its number format and last dimension are the input's."""
        return self.module.weight


class _RmsNorm(_Faster):
    def __init__(self, module: Any) -> None:
        super().__init__(module)
        self.epsilon = float(getattr(module, "variance_epsilon", None) or module.eps)

    def __call__(self, hidden_states: Tensor) -> Tensor:
        return kernels.rms_norm(hidden_states, self.module.weight, self.epsilon)


class _GatedMlp(_Faster):
    def __init__(self, module: Any) -> None:
        super().__init__(module)
        self.gate_and_up = Projection([module.gate_proj, module.up_proj])
        self.down = Projection([module.down_proj])

    def weight(self) -> Tensor:
        return self.gate_and_up.joint()

    def __call__(self, hidden_states: Tensor) -> Tensor:
        rows = hidden_states.flatten(0, -2)
        return self.down(kernels.swiglu(self.gate_and_up(rows))).unflatten(0, hidden_states.shape[:-1])


class _SelfAttention(_Faster):
    """Rotary attention of one packed row; anything else (a cache, padding, a batch) goes to the original."""

    def __init__(self, module: Any) -> None:
        super().__init__(module)
        self.states = Projection([module.q_proj, module.k_proj, module.v_proj])
        self.output = Projection([module.o_proj])
        channels = module.head_dim
        heads, groups = (size // channels for size in self.states.sizes[:2])
        self.shape = (heads, groups, channels)
        told_by = module if hasattr(module, "sliding_window") else module.config
        self.window: int = getattr(told_by, "sliding_window", None) or 0

    def weight(self) -> Tensor:
        return self.states.joint()

    def __call__(self, hidden_states: Tensor, position_embeddings: Any = None, **kwargs: Any) -> tuple[Tensor, None]:
        starts = kwargs.get("document_starts")
        dropout = self.module.attention_dropout if self.module.training else 0.0
        is_alone = hidden_states.shape[0] == 1 and kwargs.get("past_key_values") is None
        if starts is None or not is_alone or dropout or isinstance(kwargs.get("attention_mask"), Tensor):
            return self.original(hidden_states, position_embeddings=position_embeddings, **kwargs)
        documents = kernels.Documents(starts, causal=True, scale=self.module.scaling, window=self.window)
        cosines, sines = (angles[0].to(hidden_states.dtype).contiguous() for angles in position_embeddings)
        states = self.states(hidden_states[0])
        attended = kernels.rotary_attend(states, (cosines, sines), self.shape, documents)
        return self.output(attended)[None], None


class _EncoderAttention(_Faster):
    """BERT's attention of one packed row, both ways; anything else (padding, a batch, dropout) goes to the original."""

    def __init__(self, module: Any) -> None:
        super().__init__(module)
        self.states = Projection([module.query, module.key, module.value])

    def weight(self) -> Tensor:
        return self.states.joint()

    def __call__(self, hidden_states: Tensor, attention_mask: Any = None, **kwargs: Any) -> tuple[Tensor, None]:
        starts = kwargs.get("document_starts")
        dropout = self.module.dropout.p if self.module.training else 0.0
        is_alone = hidden_states.shape[0] == 1 and kwargs.get("past_key_values") is None
        if starts is None or not is_alone or dropout or isinstance(attention_mask, Tensor):
            return self.original(hidden_states, attention_mask=attention_mask, **kwargs)
        documents = kernels.Documents(starts, causal=False, scale=self.module.scaling)
        heads = (3, self.module.num_attention_heads, self.module.attention_head_size)
        query, key, value = self.states(hidden_states[0]).unflatten(1, heads).unbind(1)
        return kernels.attend(query, key, value, documents).flatten(1)[None], None


def _faster(module: Any) -> _Faster | None:
    """The faster forward of a module whose parts say what it computes."""
    parts = {name for name, _ in module.named_children()}
    if parts == {"gate_proj", "up_proj", "down_proj", "act_fn"} and _are_linear(module, parts - {"act_fn"}):
        return (
            _GatedMlp(module) if isinstance(module.act_fn, nn.SiLU) or "SiLU" in type(module.act_fn).__name__ else None
        )
    if parts == {"q_proj", "k_proj", "v_proj", "o_proj"} and _are_linear(module, parts):
        return _SelfAttention(module) if hasattr(module, "head_dim") and hasattr(module, "scaling") else None
    if parts == {"query", "key", "value", "dropout"} and _are_linear(module, parts - {"dropout"}):
        is_known = hasattr(module, "scaling") and hasattr(module, "attention_head_size")
        return _EncoderAttention(module) if is_known and not getattr(module, "is_causal", True) else None
    has_epsilon = hasattr(module, "variance_epsilon") or hasattr(module, "eps")
    if type(module).__name__.endswith("RMSNorm") and has_epsilon and getattr(module, "weight", None) is not None:
        return _RmsNorm(module)
    return None


def _are_linear(module: nn.Module, names: set[str]) -> bool:
    layers = [module.get_submodule(name) for name in names]
    return all(type(layer) is nn.Linear or isinstance(layer, LoraLinear) for layer in layers)


@torch.no_grad()
def _agree(model: Any, faster: _Faster) -> bool:
    """Whether both forwards give the same on random input of two documents."""
    weight = faster.weight()
    if not kernels.can_compute(weight):
        return False
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(1, PROBE_BOUNDS[-1], weight.shape[-1], generator=generator).to(weight.dtype)
    arguments: dict[str, Any] = {}
    if isinstance(faster, _SelfAttention):
        rotary = getattr(model.get_decoder(), "rotary_emb", None)
        if rotary is None or faster.shape[2] % 2:
            return False
        positions = torch.cat([torch.arange(end - start) for start, end in pairwise(PROBE_BOUNDS)])[None]
        try:
            angles = rotary(hidden, positions)
        except TypeError:  # a family with several kinds of angles
            return False
        if angles[0].shape[-1] != faster.shape[2]:
            return False
        starts = torch.tensor(PROBE_BOUNDS, dtype=torch.int32)
        arguments = {"position_embeddings": angles, "attention_mask": None, "document_starts": starts}
    if isinstance(faster, _EncoderAttention):
        arguments = {"document_starts": torch.tensor(PROBE_BOUNDS, dtype=torch.int32)}
    expected, ours = (_first(forward(hidden, **arguments)).float() for forward in (faster.original, faster))
    return bool((expected - ours).abs().max() <= TOLERANCE[weight.dtype] * expected.abs().max())


def _first(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


class Projection:
    """Linear layers of one input, adapters included, as one product: [T, in] → [T, sum of outs], side by side.

    Mutates: the layers' weights become views of one block of memory.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self.adapters = [layer if isinstance(layer, LoraLinear) else None for layer in layers]
        self.layers: list[Any] = [layer.base if isinstance(layer, LoraLinear) else layer for layer in layers]
        self.sizes = [layer.out_features for layer in self.layers]
        self._joint: Tensor | None = None

    def __call__(self, inputs: Tensor) -> Tensor:
        return _Project.apply(self, inputs, *self.parameters())

    def parameters(self) -> list[Tensor | None]:
        """What gradients may flow to: weights, then biases, then each adapter's A and B (None where there is none)."""
        adapters = [(a.lora_a, a.lora_b) if a is not None else (None, None) for a in self.adapters]
        weights, biases = [layer.weight for layer in self.layers], [layer.bias for layer in self.layers]
        return [*weights, *biases, *(factor for pair in adapters for factor in pair)]

    def joint(self) -> Tensor:
        """The weights one above the other, without a copy once they lie so in memory."""
        weights = [layer.weight for layer in self.layers]
        joint = self._joint
        if joint is None or not _lie_in(joint, weights):
            joint = weights[0].data if len(weights) == 1 else torch.cat([weight.data for weight in weights])
            for weight, view in zip(weights, joint.split(self.sizes), strict=True):
                weight.data = view
            self._joint = joint
        return joint

    def bias(self) -> Tensor | None:
        biases = [layer.bias for layer in self.layers]
        if all(bias is None for bias in biases):
            return None
        zeros = [torch.zeros(size, dtype=self.layers[0].weight.dtype) for size in self.sizes]
        return torch.cat([zero if bias is None else bias.data for bias, zero in zip(biases, zeros, strict=True)])

    def factors(self, dtype: torch.dtype) -> _Factors | None:
        """The adapters of all layers as one pair of factors; None where there are none."""
        found = [adapter for adapter in self.adapters if adapter is not None]
        if not found:
            return None
        down = torch.cat([adapter.lora_a.data for adapter in found]).to(dtype)
        up = torch.zeros(sum(self.sizes), len(down), dtype=dtype)
        for adapter, rows, columns in self._places():
            up[rows, columns] = (adapter.lora_b.data * adapter.scale).to(dtype)
        return _Factors(down, up)

    def _places(self) -> Iterator[tuple[LoraLinear, slice, slice]]:
        """Each adapter, with its rows and columns in the joined `up`."""
        row = column = 0
        for adapter, size in zip(self.adapters, self.sizes, strict=True):
            if adapter is not None:
                rank = adapter.lora_a.shape[0]
                yield adapter, slice(row, row + size), slice(column, column + rank)
                column += rank
            row += size

    def adapter_gradients(self, d_down: Tensor, d_output: Tensor, low: Tensor) -> list[Tensor | None]:
        """Gradients of each layer's A and B from that of the joined A, the outputs' and the low-rank states."""
        grads: list[Tensor | None] = []
        places = {id(adapter): (rows, columns) for adapter, rows, columns in self._places()}
        for adapter in self.adapters:
            if adapter is None:
                grads += [None, None]
                continue
            rows, columns = places[id(adapter)]
            d_up = d_output[:, rows].t() @ low[:, columns]
            grads += [d_down[columns].to(adapter.lora_a.dtype), d_up.to(adapter.lora_b.dtype) * adapter.scale]
        return grads


@dataclass(frozen=True)
class _Factors:
    down: Tensor  # [ranks, in]
    up: Tensor  # [outs, ranks], each adapter's scaled B in its own rows and columns


def _lie_in(joint: Tensor, weights: Sequence[Tensor]) -> bool:
    """Whether the weights are just the rows of `joint`, in order: somebody may have moved them."""
    place = joint.data_ptr()
    for weight in weights:
        if weight.data_ptr() != place or not weight.is_contiguous():
            return False
        place += weight.numel() * weight.element_size()
    return True


class _Project(Function):
    @staticmethod
    def forward(ctx: Any, projection: Projection, inputs: Tensor, *parameters: Tensor | None) -> Tensor:
        joint, bias, factors = projection.joint(), projection.bias(), projection.factors(inputs.dtype)
        output = inputs @ joint.t() if bias is None else torch.addmm(bias, inputs, joint.t())
        low = None
        if factors is not None:
            low = inputs @ factors.down.t()
            output.addmm_(low, factors.up.t())
        ctx.projection, ctx.factors = projection, factors
        ctx.save_for_backward(inputs, low)
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        projection, factors, d_output = ctx.projection, ctx.factors, grads[0]
        inputs, low = ctx.saved_tensors
        num_layers, needed = len(projection.layers), ctx.needs_input_grad
        d_inputs = d_output @ projection.joint() if needed[1] else None
        adapters: list[Tensor | None] = [None] * (2 * num_layers)
        if factors is not None:
            d_low = d_output @ factors.up
            if d_inputs is not None:
                d_inputs.addmm_(d_low, factors.down)
            adapters = projection.adapter_gradients(d_low.t() @ inputs, d_output, low)
        weights: Sequence[Tensor | None] = [None] * num_layers
        if any(needed[2 : 2 + num_layers]):
            weights = (d_output.t() @ inputs).split(projection.sizes)
        biases: Sequence[Tensor | None] = [None] * num_layers
        if any(needed[2 + num_layers : 2 + 2 * num_layers]):
            biases = d_output.sum(0).split(projection.sizes)
        made = [*weights, *biases, *adapters]
        return None, d_inputs, *(grad if need else None for grad, need in zip(made, needed[2:], strict=True))
